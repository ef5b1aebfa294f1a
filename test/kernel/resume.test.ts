import { appendFileSync, existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readDurableLength } from '../../src/engine/durable-length.js';
import { readJournal, type JournalContents } from '../../src/journal/journal-reader.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { copyDevice } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  run,
  writeRandom,
} from './support/lab.js';
import { killIfThere, start, startCollecting, type Running } from './support/random-moments.js';
import { installLvmsync, installScript } from './support/remote-lvmsync.js';
import { expectSameBytes } from './support/same-bytes.js';
import { startTwoHosts, type TwoHosts } from './support/two-hosts.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-resume';
const SNAPSHOT = `${GROUP}/snap`;
const STATE = '/run/resume-state';
const FAR_PID = '/run/resume.pid';
const MEBIBYTE = 1024 * 1024;
const CHANGED = 24 * MEBIBYTE;
/** So slow that two checkpoints come, after five and ten seconds, long before the end. Bytes per second. */
const RATE = 1.5 * MEBIBYTE;
const SLOWLY = ['--bwlimit', `${RATE}B`, '--codec', 'none'];
/** How long a checkpoint may take to show in the journal. */
const FLUSH_SECONDS = 4;
/** What two lines and their blocks take beside the changes. Bytes. */
const OVERHEAD = 100_000;
const PATIENCE = 600_000;

let hosts: TwoHosts;
let origin = '';
let target = '';
let journal = '';
let base = '';
let later = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  hosts = await startTwoHosts();
  // A line that died is noticed soon.
  const config = 'Host far\nServerAliveInterval 1\nServerAliveCountMax 2\nConnectTimeout 3\n';
  appendFileSync(join(homedir(), '.ssh/config'), config);
  origin = await createVolume(GROUP, 'origin', '28M');
  target = await createVolume(GROUP, 'target', '28M');
  await writeRandom(origin, 0, 28 * MEBIBYTE, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '32M', chunkSize: '64k' });
  base = await digestOf(origin);
  await writeRandom(origin, MEBIBYTE, CHANGED, 'changed');
  later = await digestOf(origin);
  await createSnapshot(GROUP, 'origin', 'later', { size: '8M', chunkSize: '64k', permission: 'r' });
  journal = join(STATE, 'targets', (await targetKeyOf(target)).key, 'journal');
});
afterAll(() => hosts.stop());
beforeEach(async () => {
  await copyDevice(`/dev/${SNAPSHOT}`, target);
  expect(await digestOf(target)).toBe(base);
  rmSync(FAR_PID, { force: true });
  rmSync(STATE, { recursive: true, force: true });
  installScript(`echo $$ >${FAR_PID}; exec "$LVMSYNC" "$@"`);
});
afterEach(installLvmsync);

const words = (...more: readonly string[]) => [
  SNAPSHOT,
  '--state-dir',
  STATE,
  ...more,
  '--json',
  `far:${target}`,
];

/** A place from which a run can go on. */
interface Place {
  /** How many bytes lie before it. */
  readonly durable: number;
  /** When it had not shown yet. Milliseconds. */
  readonly since: number;
}

async function secondCheckpointOf(running: Running): Promise<Place> {
  return await checkpointOf(running, (await checkpointOf(running)).durable);
}

/** All lines together: what goes out twice is at most what can have gone out between the place and the break. */
function expectLittleTwice(report: Record<string, number>, { durable, since }: Place, brokeAt: number): void {
  expect(report['resumedBytes']).toBeGreaterThanOrEqual(durable);
  const most = RATE * ((brokeAt - since) / 1000 + FLUSH_SECONDS) + OVERHEAD;
  const twice = Number(report['sentBytes']) - CHANGED;
  console.log(`${durable} bytes were durable, ${twice} of at most ${Math.round(most)} went out twice`);
  expect(twice).toBeGreaterThan(0);
  expect(twice).toBeLessThan(most);
}

/** A journal that grows meanwhile, and may be gone again. */
async function readWhatIsThere(file: string): Promise<JournalContents | null> {
  return await readDurableLength(dirname(file))
    .then((length) => readJournal(file, length))
    .catch(() => null);
}

async function killBoth(running: Running): Promise<void> {
  killIfThere(Number(readFileSync(FAR_PID, 'utf8')));
  killIfThere(running.pid);
  await running.finished;
}

describe('what a session brought is not sent again', () => {
  it(
    'when the line is cut silently and comes back, while the origin is written all the time',
    async () => {
      const running = startCollecting(lvmsyncCommand(...words('--data-source', `${GROUP}/later`, ...SLOWLY)));
      const place = await secondCheckpointOf(running);
      await hosts.cut();
      await writeRandom(origin, 0, MEBIBYTE, 'meanwhile');
      while (!running.isOver() && !running.stderr().includes('trying again')) await sleep(50);
      const brokeAt = performance.now();
      await hosts.restore();
      const { status } = await running.finished;
      const stderr = running.stderr();
      expect({ status, stderr }).toEqual({
        ...{ status: 0, stderr: expect.stringMatching(/trying again in 1 s \(1 of 5\)/) as string },
      });
      expect(stderr).toMatch(/continuing at byte \d+: \d+ of 25165824 bytes are there already/);
      expect(await digestOf(target)).toBe(later);
      const report = JSON.parse(running.stdout()) as Record<string, number>;
      expect(report).toMatchObject({ changedBytes: CHANGED, mismatches: 0, consistent: true });
      expectLittleTwice(report, place, brokeAt);
      await writeRandom(origin, 0, MEBIBYTE, 'base');
    },
    PATIENCE,
  );

  it(
    'when the line of a pull breaks',
    async () => {
      const pull = [
        'pull',
        `far:${SNAPSHOT}`,
        target,
        '--data-source',
        `${GROUP}/later`,
        '--state-dir',
        STATE,
      ];
      const running = startCollecting(lvmsyncCommand(...pull, ...SLOWLY, '--json'));
      const place = await secondCheckpointOf(running);
      // the server's process for this one connection
      await run(['pkill', '-KILL', '-f', '^sshd(-session)?: root@notty']);
      const brokeAt = performance.now();
      const { status } = await running.finished;
      const stderr = running.stderr();
      expect({ status, stderr }).toEqual({
        ...{ status: 0, stderr: expect.stringMatching(/trying again in 1 s \(1 of 5\)/) as string },
      });
      expect(await digestOf(target)).toBe(later);
      const report = JSON.parse(running.stdout()) as Record<string, number>;
      expect(report).toMatchObject({ changedBytes: CHANGED, mismatches: 0, consistent: true });
      expectLittleTwice(report, place, brokeAt);
    },
    PATIENCE,
  );

  it(
    'when both ends were killed and the same command is run again, unless the origin was written since',
    async () => {
      await writeRandom(origin, 0, MEBIBYTE, 'now');
      const now = await digestOf(origin);
      let running = start(lvmsyncCommand(...words(...SLOWLY)));
      const { durable } = await checkpointOf(running);
      await killBoth(running);
      const again = await lvmsync(words());
      expect({ status: again.status, stderr: again.stderr }).toEqual({
        ...{ status: 0, stderr: expect.stringMatching(/taken back to its last checkpoint/) as string },
      });
      const report = JSON.parse(again.stdout) as Record<string, number>;
      expect(report['resumedBytes']).toBeGreaterThanOrEqual(durable);
      expect(report['sentBytes']).toBeLessThan(25 * MEBIBYTE - durable + 200_000);
      expect(await digestOf(target)).toBe(now);

      await copyDevice(`/dev/${SNAPSHOT}`, target);
      running = start(lvmsyncCommand(...words(...SLOWLY)));
      await checkpointOf(running);
      await killBoth(running);
      const resumed = startCollecting(lvmsyncCommand(...words(...SLOWLY)));
      while (!resumed.isOver() && !resumed.stderr().includes('continuing at byte')) await sleep(50);
      await sleep(500);
      await killBoth(resumed);
      await writeRandom(origin, 2 * MEBIBYTE, 4096, 'since');
      const anew = await lvmsync(words());
      expect(anew.stderr).toMatch(/taken back to what it held before/);
      expect(JSON.parse(anew.stdout)).toMatchObject({ resumedBytes: 0, mismatches: 0 });
      await expectSameBytes(target, origin);
    },
    2 * PATIENCE,
  );
});

/** Resolves when the journal has a place behind that many bytes. */
async function checkpointOf(running: Running, after = 0): Promise<Place> {
  let since = performance.now();
  for (let attempt = 0; attempt < 2000 && !running.isOver(); attempt++) {
    const now = performance.now();
    const isLonger = existsSync(journal) && statSync(journal).size > MEBIBYTE;
    const place = isLonger ? (await readWhatIsThere(journal))?.resumePlace : null;
    if (place != null && place.point.changedBytes > after)
      return { durable: place.point.changedBytes, since };
    since = now;
    await sleep(100);
  }
  throw new Error('no checkpoint came');
}
