import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { recover } from '../../src/jobs/apply.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { quietSurroundings } from '../support/surroundings.js';
import { copyDevice, scatterWrites, writeCounter } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsyncCommand,
  startSshd,
  tryToRun,
  writeRandom,
  type Sshd,
} from './support/lab.js';
import { runLvmsync } from './support/outcomes.js';
import { killIfThere, randomFrom, reach, start, type Running } from './support/random-moments.js';
import { installLvmsync, installScript } from './support/remote-lvmsync.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-interrupted';
const SNAPSHOT = `${GROUP}/snap`;
const STREAM = '/run/interrupted.stream';
const STATE = '/run/interrupted';
const APPLY_FILE = join(import.meta.dirname, 'support/apply-file.js');
const FAR_PID = '/run/interrupted.pid';
const KILLS = Number(process.env['LVMSYNC_KILLS'] ?? 30);
const SEED = Number(process.env['LVMSYNC_SEED'] ?? Date.now() % 1_000_000);
/** What one kill may take here, with everything around it. Milliseconds. */
const PATIENCE = 30_000;

let target = '';
let base = '';
let changed = '';
let note = '';
/** How many writes a whole apply takes. */
let wholeRun = 0;
useVolumeGroup(GROUP);
beforeAll(async () => {
  const origin = await createVolume(GROUP, 'origin', '24M');
  target = await createVolume(GROUP, 'target', '24M');
  await writeRandom(origin, 0, 24 << 20, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '24M' });
  base = await digestOf(origin);
  await copyDevice(origin, target);
  // several batches: small blocks first, then large ones
  await scatterWrites(origin, { unit: 4096, stride: 13, count: 160, seed: 'small' });
  await writeRandom(origin, 9 << 20, 11 << 20, 'large');
  await writeRandom(origin, 22 << 20, 300_000, 'last');
  changed = await digestOf(origin);
  const { stdoutBytes } = await tryToRun(lvmsyncCommand(SNAPSHOT, '--stdout'));
  writeFileSync(STREAM, stdoutBytes);

  note = join(STATE, 'targets', (await targetKeyOf(target)).key, 'apply.json');
  const writes = writeCounter(target);
  const before = writes();
  await runLvmsync('--apply', STREAM, '--state-dir', STATE, target);
  wholeRun = writes() - before;
  expect(wholeRun).toBeGreaterThan(160);
  await copyDevice(`/dev/${SNAPSHOT}`, target);
});

/** Kills and recovers as many runs, and more until enough of them were in the middle: else it would show nothing. */
async function expectRecoveries(count: number, kill: () => Promise<string>): Promise<void> {
  const enough = Math.floor(count / 2);
  const found: string[] = [];
  const takenBack = () => found.filter((kind) => kind === 'taken back').length;
  while (found.length < count || (takenBack() < enough && found.length < 3 * count + 15))
    found.push(await kill());
  console.log(`seed ${SEED}: ${takenBack()} of ${found.length} killed runs were taken back`);
  expect(takenBack(), found.join(', ')).toBeGreaterThanOrEqual(enough);
}

const killItself = ({ pid }: Running) => pid;

describe('SIGKILL at a random moment, then recover, leaves the base or the reported result', () => {
  const shares = { file: Math.ceil(KILLS * 0.8), local: Math.ceil(KILLS * 0.1) };

  it(
    'of an apply of a file',
    async () => {
      const random = randomFrom(SEED);
      const command = [process.execPath, APPLY_FILE, STREAM, STATE, target] as const;
      await expectRecoveries(shares.file, () => killAndRecover(random, () => start(command), killItself));
    },
    KILLS * PATIENCE,
  );

  it(
    'of a transfer on this host',
    async () => {
      const random = randomFrom(SEED + 1);
      const words = [SNAPSHOT, '--state-dir', STATE, target];
      await expectRecoveries(shares.local, () =>
        killAndRecover(random, () => start(lvmsyncCommand(...words)), killItself),
      );
    },
    KILLS * PATIENCE,
  );

  describe('over ssh', () => {
    let sshd: Sshd;
    beforeAll(async () => {
      sshd = await startSshd();
    });
    afterAll(() => sshd.stop());
    beforeEach(() => {
      installScript(`echo $$ >${FAR_PID}; exec "$LVMSYNC" "$@"`);
    });
    afterEach(installLvmsync);

    it(
      'at the far receiver',
      async () => {
        const random = randomFrom(SEED + 2);
        const words = [SNAPSHOT, '--state-dir', STATE, `127.0.0.1:${target}`];
        const farReceiver = () => Number(readFileSync(FAR_PID, 'utf8'));
        await expectRecoveries(Math.max(0, KILLS - shares.file - shares.local), () =>
          killAndRecover(random, () => start(lvmsyncCommand(...words)), farReceiver),
        );
      },
      KILLS * PATIENCE,
    );
  });
});

it('a recover that is killed in the middle, or stopped by a signal, is completed by another', async () => {
  const random = randomFrom(SEED + 3);
  let inTheMiddle = 0;
  let stopped = 0;
  for (let i = 0; i < 15 && (inTheMiddle < 4 || stopped === 0); i++) {
    const applying = start([process.execPath, APPLY_FILE, STREAM, STATE, target]);
    await reach({ file: note, writes: Math.floor(wholeRun * 0.7), milliseconds: 0 }, target, applying);
    if (!applying.isOver()) process.kill(applying.pid, 'SIGKILL');
    if ((await applying.finished).status === 0) {
      // it was faster than the kill
      await copyDevice(`/dev/${SNAPSHOT}`, target);
      continue;
    }
    inTheMiddle += 1;
    const recovering = start(lvmsyncCommand('recover', '--state-dir', STATE, target));
    const writes = 1 + Math.floor(random() * wholeRun * 0.6);
    await reach({ file: note, writes, milliseconds: 0 }, target, recovering);
    const signal = inTheMiddle % 2 === 0 ? 'SIGTERM' : 'SIGKILL';
    if (!recovering.isOver()) process.kill(recovering.pid, signal);
    const { status, stderr } = await recovering.finished;
    if (signal === 'SIGTERM' && status !== 0) {
      stopped += 1;
      expect({ status, stderr }).toEqual({
        ...{
          status: 143,
          stderr: expect.stringMatching(/still half-written; run "lvmsync recover .*" to finish/) as string,
        },
      });
    }
    await recover(target, STATE, {}, quietSurroundings());
    expect(await digestOf(target), `seed ${SEED}, killed after ${writes} writes`).toBe(base);
  }
  expect(inTheMiddle).toBeGreaterThanOrEqual(4);
  expect(stopped).toBeGreaterThan(0);
});

it('the next run takes the target back by itself, says so, and brings the result', async () => {
  const killAndRunAgain = async () => {
    const applying = start([process.execPath, APPLY_FILE, STREAM, STATE, target]);
    await reach({ file: note, writes: Math.floor(wholeRun / 4), milliseconds: 0 }, target, applying);
    if (!applying.isOver()) killIfThere(applying.pid);
    await applying.finished;
    return await tryToRun(lvmsyncCommand(SNAPSHOT, '--state-dir', STATE, target));
  };
  let again = await killAndRunAgain();
  for (let tries = 1; tries < 10 && !again.stderr.includes('taken back'); tries++) {
    // it was faster than the kill
    await copyDevice(`/dev/${SNAPSHOT}`, target);
    again = await killAndRunAgain();
  }
  expect(again.stderr).toMatch(/target: the earlier apply was incomplete: taken back to what it held before/);
  expect(again.status).toBe(0);
  expect(await digestOf(target)).toBe(changed);
});

/** Kills a run of each moment, and expects recovering to leave the base, or the result that was reported. */
async function killAndRecover(
  random: () => number,
  begin: () => Running,
  victimOf: (running: Running) => number,
): Promise<string> {
  const running = begin();
  const milliseconds = Math.floor(random() * 30);
  // one in four before the first write, where the journal begins
  const writes = Math.max(0, Math.floor((random() * 4 - 1) * (wholeRun / 3)) + 1);
  await reach({ file: note, writes, milliseconds }, target, running);
  const what = `seed ${SEED}, ${milliseconds} ms after ${writes} writes`;
  if (!running.isOver()) killIfThere(victimOf(running));
  const { status } = await running.finished;
  const { kind } = await recover(target, STATE, {}, quietSurroundings());
  const holds = await digestOf(target);
  if (status === 0) expect(holds, `reported as done, ${what}`).toBe(changed);
  if (kind === 'taken back') expect(holds, `taken back, ${what}`).toBe(base);
  if (kind === 'holds the result') expect(holds, `said to hold the result, ${what}`).toBe(changed);
  expect([base, changed], what).toContain(holds);
  if (holds === changed) await copyDevice(`/dev/${SNAPSHOT}`, target);
  return kind;
}
