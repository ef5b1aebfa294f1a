import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { CHECKSUM_LENGTH, END, END_LENGTH, FRAME_HEADER_LENGTH } from '../../src/stream/frame-format.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import {
  copyDevice,
  mapDevice,
  remapDevice,
  scatterWrites,
  sectorsOf,
  unmapDevices,
} from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  run,
  tryToRun,
} from './support/lab.js';
import { runLvmsync } from './support/outcomes.js';
import { start, type Running } from './support/random-moments.js';
import { useVolumeGroup } from './support/volume-group.js';

/*
 * An apply that was killed when its journal had its end, and before it could say so. The journal lies on a slow
 * disk: what is in a file already is not durable for so long that the moment between the two is met.
 */
const GROUP = 'vg-unreported';
const SNAPSHOT = `${GROUP}/snap`;
const STREAM = '/run/unreported.stream';
const DISK = '/run/slow-disk';
const STATE = join(DISK, 'state');
const SNAPBACK = join(DISK, 'undo');
const WRITE_DELAY_MS = 200;

let target = '';
let base = '';
let changed = '';
let note = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  const origin = await createVolume(GROUP, 'origin', '8M');
  target = await createVolume(GROUP, 'target', '8M');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '8M' });
  await scatterWrites(origin, { unit: 4096, stride: 7, count: 100, seed: 'new' });
  base = await digestOf(`/dev/${SNAPSHOT}`);
  changed = await digestOf(origin);
  writeFileSync(STREAM, (await tryToRun(lvmsyncCommand(SNAPSHOT, '--stdout'))).stdoutBytes);
  note = join(STATE, 'targets', (await targetKeyOf(target)).key, 'apply.json');

  const below = await createVolume(GROUP, 'below', '32M');
  const sectors = await sectorsOf(below);
  const slow = await mapDevice('slow-disk', `0 ${sectors} linear ${below} 0`);
  await run(['mkfs.ext4', '-q', '-F', slow]);
  mkdirSync(DISK, { recursive: true });
  await run(['mount', slow, DISK]);
  await remapDevice('slow-disk', `0 ${sectors} delay ${below} 0 0 ${below} 0 ${WRITE_DELAY_MS}`);
});
afterAll(async () => {
  await run(['umount', DISK]);
  await unmapDevices('slow-disk');
});
beforeEach(() => copyDevice(`/dev/${SNAPSHOT}`, target));

/** Starts an apply, and kills it as soon as the condition holds. */
async function killWhen(holds: () => boolean, ...options: readonly string[]): Promise<void> {
  const running = start(lvmsyncCommand('--apply', STREAM, '--state-dir', STATE, ...options, target));
  await until(holds, running);
  if (!running.isOver()) process.kill(running.pid, 'SIGKILL');
  const { status, stderr } = await running.finished;
  expect(status, `it reported before it could be killed: ${stderr}`).toBeNull();
  expect(existsSync(note)).toBe(true);
}

async function until(holds: () => boolean, running: Running): Promise<void> {
  while (!running.isOver() && !holds()) await sleep(3);
}

it('after a kill behind the journal’s end frame, recover says that the target holds the result, and it does', async () => {
  await killWhen(() => hasEnd(join(dirname(note), 'journal')));
  const { status, stderr, stdout } = await lvmsync(['recover', '--state-dir', STATE, target]);
  expect({ status, said: stdout + stderr }).toEqual({
    ...{ status: 0, said: expect.stringMatching(/was complete: it holds the result/) as string },
  });
  expect(await digestOf(target)).toBe(changed);
  expect(existsSync(note)).toBe(false);
});

it('after a kill behind the naming of the snapback, recover keeps the snapback, and it leads back', async () => {
  await killWhen(() => existsSync(SNAPBACK), '--snapback', SNAPBACK);
  const { status, stderr, stdout } = await lvmsync(['recover', '--state-dir', STATE, target]);
  expect({ status, said: stdout + stderr }).toEqual({
    ...{ status: 0, said: expect.stringMatching(/was complete: it holds the result/) as string },
  });
  expect(await digestOf(target)).toBe(changed);
  await runLvmsync('--apply', SNAPBACK, '--state-dir', STATE, target);
  expect(await digestOf(target)).toBe(base);
});

/** Whether a journal's last frame is its end. */
function hasEnd(journal: string): boolean {
  if (!existsSync(journal)) return false;
  const file = openSync(journal, 'r');
  try {
    const frame = Buffer.alloc(FRAME_HEADER_LENGTH + END_LENGTH + CHECKSUM_LENGTH);
    const start = fstatSync(file).size - frame.length;
    if (start < 0 || readSync(file, frame, 0, frame.length, start) < frame.length) return false;
    return frame.readUInt32BE(0) === END_LENGTH && frame.toString('latin1', 4, 5) === END;
  } finally {
    closeSync(file);
  }
}
