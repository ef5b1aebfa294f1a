import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { copyDevice, mapDevice, remapDevice, sectorsOf, unmapDevices, waitUntil } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  run,
  startSshd,
  writeRandom,
  type Sshd,
} from './support/lab.js';
import { expectFailure, expectPlainLines, runLvmsync } from './support/outcomes.js';
import { reach, start, type Running } from './support/random-moments.js';
import { installLvmsync, installScript } from './support/remote-lvmsync.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-cut';
const SNAPSHOT = `${GROUP}/snap`;
const STATE = '/run/cut-state';
const SMALL = '/run/cut-small';
const FAR_PID = '/run/cut.pid';
const MEBIBYTE = 1024 * 1024;

let target = '';
let sectors = 0;
let base = '';
let changed = '';
let sshd: Sshd;
useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
  const origin = await createVolume(GROUP, 'origin', '32M');
  target = await createVolume(GROUP, 'target', '32M');
  await writeRandom(origin, 0, 32 * MEBIBYTE, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '36M', chunkSize: '64k' });
  base = await digestOf(origin);
  await copyDevice(origin, target);
  await writeRandom(origin, MEBIBYTE, 30 * MEBIBYTE, 'changed');
  changed = await digestOf(origin);
  sectors = await sectorsOf(target);
  mkdirSync(SMALL, { recursive: true });
});
afterAll(() => sshd.stop());
beforeEach(async () => {
  if ((await digestOf(target)) !== base) await copyDevice(`/dev/${SNAPSHOT}`, target);
});

async function recoverToBase(device: string, state = STATE): Promise<void> {
  const { status, stderr } = await lvmsync(['recover', '--state-dir', state, device]);
  expect({ status, stderr }).toEqual({
    ...{ status: 0, stderr: expect.stringMatching(/taken back to what it held before/) as string },
  });
  expect(await digestOf(target)).toBe(base);
}

describe('a target that fails in the middle', () => {
  it.each([
    ['error', (half: number) => `${half} ${half} error`],
    ['flakey', (half: number) => `${half} ${half} flakey ${target} ${half} 0 1 1 error_writes`],
  ])('of dm-%s: says which byte of which device failed, and recovers later', async (_kind, bad) => {
    const half = sectors / 2;
    const good = `0 ${sectors} linear ${target} 0`;
    const failing = await mapDevice('failing', `0 ${half} linear ${target} 0\n${bad(half)}`);
    try {
      const words = [SNAPSHOT, '--state-dir', STATE, '--whole-chunks', failing];
      const stderr = await expectFailure(words, 8, /failing: (read|write) at byte \d+ failed: EIO/);
      const [, at] = /at byte (\d+)/.exec(stderr) ?? [];
      expect(Number(at)).toBeGreaterThanOrEqual(half * 512 - MEBIBYTE);
      expect(stderr).toMatch(/failing: half-written; "lvmsync recover .*failing" takes it back/);
      await remapDevice('failing', good);
      expect(await digestOf(target)).not.toBe(base);
      await recoverToBase(failing);
    } finally {
      await unmapDevices('failing');
    }
  });
});

describe('a file system of the journal', () => {
  afterEach(() => run(['umount', SMALL]));

  it('without enough space refuses the run before the first byte', async () => {
    await run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'small', SMALL]);
    await expectFailure(
      [SNAPSHOT, '--state-dir', SMALL, target],
      3,
      /not enough space for the journal: it may need \d+ bytes, and \d+ are free/,
    );
    expect(await digestOf(target)).toBe(base);
    await runLvmsync(SNAPSHOT, '--state-dir', SMALL, '--no-journal', target);
    expect(await digestOf(target)).toBe(changed);
  });

  it('that fills up although it had enough space stops the run before a block is overwritten unsaved, and recover needs no space', async () => {
    await run(['mount', '-t', 'tmpfs', '-o', 'size=44m', 'small', SMALL]);
    const slow = await mapDevice('slow-full', `0 ${sectors} delay ${target} 0 0 ${target} 0 500`);
    try {
      const running = start(lvmsyncCommand(SNAPSHOT, '--state-dir', SMALL, slow));
      await reach({ file: await noteOf(slow, SMALL), writes: 1, milliseconds: 0 }, slow, running);
      // all that is left, and more
      await fillUp(join(SMALL, 'another file'));
      const { status, stderr } = await running.finished;
      expect({ status, stderr }).toEqual({
        ...{
          status: 8,
          stderr: expect.stringMatching(/journal: write at byte \d+ failed: ENOSPC/) as string,
        },
      });
      expectPlainLines(stderr);
      expect(stderr).toMatch(/slow-full: half-written; "lvmsync recover/);
      expect(await digestOf(target)).not.toBe(base);
      // also what that run has given back since
      await fillUp(join(SMALL, 'one more file'));
      await recoverToBase(slow, SMALL);
    } finally {
      await unmapDevices('slow-full');
    }
  });
});

async function fillUp(file: string): Promise<void> {
  await run(['bash', '-c', 'cat /dev/zero >"$1" 2>/dev/null; true', 'fill', file]);
}

async function noteOf(device: string, state: string): Promise<string> {
  return join(state, 'targets', (await targetKeyOf(device)).key, 'apply.json');
}

/*
 * A slow target, so that whatever happens meets a run in the middle.
 */
describe('a run that is cut short', () => {
  let slow = '';
  let note = '';
  beforeAll(async () => {
    slow = await mapDevice('slow-cut', `0 ${sectors} delay ${target} 0 0 ${target} 0 100`);
    note = await noteOf(slow, STATE);
  });
  afterAll(() => unmapDevices('slow-cut'));
  beforeEach(() => {
    rmSync(FAR_PID, { force: true });
    installScript(`echo $$ >${FAR_PID}; exec "$LVMSYNC" "$@" 2> >(tee -p /run/cut.err >&2)`);
  });
  afterEach(installLvmsync);

  async function startMidway(destination: string): Promise<Running> {
    const words = [SNAPSHOT, '--state-dir', STATE, '--retry', '0', destination];
    const running = start(lvmsyncCommand(...words));
    await reach({ file: note, writes: 2, milliseconds: 0 }, slow, running);
    expect(running.isOver()).toBe(false);
    return running;
  }

  async function farEnd(): Promise<string> {
    const far = readFileSync(FAR_PID, 'utf8').trim();
    await waitUntil('the far side ends', () => !existsSync(`/proc/${far}`));
    // its last words go through a tee
    await waitUntil('its last words are there', () =>
      readFileSync('/run/cut.err', 'utf8').includes('half-written'),
    );
    return readFileSync('/run/cut.err', 'utf8');
  }

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('by %s on this host ends in order', async (signal, status) => {
    const running = await startMidway(slow);
    process.kill(running.pid, signal);
    const ended = await running.finished;
    expect(ended.status).toBe(status);
    expectPlainLines(ended.stderr);
    expect(ended.stderr.match(/half-written; "lvmsync recover .+" takes it back/g)).toHaveLength(1);
    // beside the warning that the snapshot's own store is nearly full
    const said = ended.stderr.trim().split('\n');
    expect(said.filter((line) => !/: warning: .* % full/.test(line))).toHaveLength(2);
    await recoverToBase(slow);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('by %s at a sender over ssh ends both sides in order', async (signal, status) => {
    const running = await startMidway(`127.0.0.1:${slow}`);
    process.kill(running.pid, signal);
    const ended = await running.finished;
    expect(ended.status).toBe(status);
    expectPlainLines(ended.stderr);
    expect(await farEnd()).toMatch(/slow-cut: half-written; "lvmsync recover .+" takes it back/);
    await recoverToBase(slow);
  });

  it('by SIGKILL at the sender is noticed and reported by the far side, which can be taken back', async () => {
    const running = await startMidway(`127.0.0.1:${slow}`);
    process.kill(running.pid, 'SIGKILL');
    await running.finished;
    expect(await farEnd()).toMatch(/slow-cut: half-written; "lvmsync recover .+" takes it back/);
    await recoverToBase(slow);
  });

  it('by a cut connection is noticed by both sides', async () => {
    const running = await startMidway(`127.0.0.1:${slow}`);
    // the server's process of this connection, the far side's parent
    const far = readFileSync(FAR_PID, 'utf8').trim();
    const session = Number(readFileSync(`/proc/${far}/stat`, 'utf8').split(') ')[1]?.split(' ')[1]);
    process.kill(session, 'SIGKILL');
    const { status, stderr } = await running.finished;
    expect({ status, stderr }).toEqual({
      ...{ status: 9, stderr: expect.stringMatching(/127\.0\.0\.1: /) as string },
    });
    expectPlainLines(stderr);
    expect(await farEnd()).toMatch(/slow-cut: half-written; "lvmsync recover .+" takes it back/);
    await recoverToBase(slow);
  });

  it('is taken back by the next run, after which the target equals the origin', async () => {
    const running = await startMidway(slow);
    process.kill(running.pid, 'SIGTERM');
    await running.finished;
    writeFileSync(FAR_PID, '');
    const again = await lvmsync([SNAPSHOT, '--state-dir', STATE, `127.0.0.1:${slow}`]);
    expect(again.stderr).toMatch(/127\.0\.0\.1: .*slow-cut: the earlier apply was incomplete: taken back/);
    expect(again.status).toBe(0);
    expect(await digestOf(target)).toBe(changed);
  });
});
