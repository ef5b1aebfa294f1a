import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice, mapDevice, sectorsOf, unmapDevices, waitForWrites } from './support/devices.js';
import { createSnapshot, createVolume, lvmsync, run, startSshd, type Sshd } from './support/lab.js';
import { expectFailure, reportOf } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { useVolumeGroup } from './support/volume-group.js';

/* An origin that is open although nobody writes: its file system is frozen, or its virtual machine paused. */

const GROUP = 'vg-rest';
const SNAPSHOT = `${GROUP}/snap`;
const ORIGIN = `/dev/${GROUP}/origin`;
const MOUNTED = '/run/rest';

let target = '';
let sshd: Sshd;
useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
  target = await createVolume(GROUP, 'target', '16M');
  await createVolume(GROUP, 'origin', '16M');
  await run(['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', ORIGIN]);
  await createSnapshot(GROUP, 'origin', 'snap', { size: '20M' });
  mkdirSync(MOUNTED, { recursive: true });
  await run(['mount', '-o', 'noatime', ORIGIN, MOUNTED]);
  await run(['bash', '-c', `head -c 3000000 /dev/urandom >${MOUNTED}/file; sync`]);
});
afterAll(async () => {
  await run(['umount', MOUNTED]);
  await sshd.stop();
});

describe('a mounted file system that is frozen', () => {
  beforeAll(() => run(['fsfreeze', '-f', MOUNTED]));
  afterAll(() => run(['fsfreeze', '-u', MOUNTED]));
  let state: string[] = [];
  let count = 0;
  beforeEach(async () => {
    await copyDevice(`/dev/${SNAPSHOT}`, target);
    count += 1;
    state = ['--state-dir', `/run/rest-state/${count}`];
  });

  it.each([
    ['the changes', [SNAPSHOT]],
    ['a pull', ['pull', `root@127.0.0.1:${SNAPSHOT}`]],
    ['a scan', ['--scan', ORIGIN]],
    ['a copy', ['copy', ORIGIN]],
  ])('is in use for %s; with --quiesced there is no warning, and --json shows it', async (_, words) => {
    const plain = await lvmsync([...words, target, ...state]);
    expect({ status: plain.status, stderr: plain.stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(
        /warning: .*in use.*not a consistent point-in-time copy.*--quiesced declares that nothing writes/,
      ) as string,
    });
    const vouched = await lvmsync([...words, target, '--quiesced', ...state]);
    expect({ status: vouched.status, stderr: vouched.stderr }).toEqual({
      status: 0,
      stderr: expect.not.stringMatching(/warning|in use/) as string,
    });
    await expectSameBytes(target, ORIGIN);
    expect(await reportOf(...words, target, '--quiesced', ...state)).toMatchObject({
      ...{ consistent: true, quiesced: true },
    });
    expect(await reportOf(...words, target, ...state)).toMatchObject({ consistent: false, quiesced: false });
  });
});

describe('a --quiesced that is not true', () => {
  afterEach(() => unmapDevices('slow-rest'));

  it('is compared with what the kernel counts: there is a warning about a write during the run', async () => {
    await copyDevice(`/dev/${SNAPSHOT}`, target);
    const sectors = await sectorsOf(target);
    const slow = await mapDevice('slow-rest', `0 ${sectors} delay ${target} 0 0 ${target} 0 200`);
    const sending = lvmsync([SNAPSHOT, slow, '--quiesced', '--no-journal']);
    await waitForWrites(slow);
    writeFileSync(`${MOUNTED}/more`, Buffer.alloc(100_000, 'written meanwhile'), { flush: true });
    await run(['sync', '-f', MOUNTED]);
    const { status, stderr } = await sending;
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(
        /warning: vg-rest\/snap: the volume was written to while it was read, although --quiesced says/,
      ) as string,
    });
  });
});

describe('an image file that a paused machine has open', () => {
  it('is copied without a warning with --quiesced, and its state has no name', async () => {
    const [image, copy] = ['/run/rest-image', '/run/rest-copy'];
    writeFileSync(image, Buffer.alloc(1 << 20, 'image'));
    writeFileSync(copy, Buffer.alloc(1 << 20));
    const machine = openSync(image, 'r+');
    try {
      const { stderr } = await lvmsync(['copy', image, copy, '--quiesced']);
      expect(stderr).toMatch(/1 MiB copied/);
      expect(stderr).not.toMatch(/in use|warning/);
    } finally {
      closeSync(machine);
    }
  });

  it('cannot be declared quiesced and live at once', async () => {
    await expectFailure(
      [SNAPSHOT, target, '--quiesced', '--live'],
      2,
      /--quiesced cannot be used with --live/,
    );
  });
});
