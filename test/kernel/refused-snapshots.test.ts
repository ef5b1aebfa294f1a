import { existsSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  mapDevice,
  remapDevice,
  scatterWrites,
  sectorsOf,
  unmapDevices,
  waitUntil,
} from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  createVolumeGroup,
  digestOf,
  lvmsyncCommand,
  mapperName,
  removeVolumeGroup,
  run,
  seededBytes,
  tryToRun,
  writeRandom,
} from './support/lab.js';
import { expectFailure, expectPlainLines } from './support/outcomes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-refused';
const CHECKOUT = path.resolve(import.meta.dirname, '../..');

let target = '';
let before = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  target = await createVolume(GROUP, 'target', '8M');
  await writeRandom(target, 0, 8 << 20, 'target');
  before = await digestOf(target);
});
afterAll(async () => {
  // whatever was refused, nothing of it was written
  expect(await digestOf(target)).toBe(before);
});

/** Neither a transfer nor a look takes it for a snapshot that knows every change. */
async function expectRefused(name: string, message: RegExp): Promise<void> {
  await expectFailure([name, target], 4, message);
}

describe('what is not a classic snapshot is refused with a message of its own', () => {
  it('a volume of another kind, or no volume at all', async () => {
    await expectRefused(`${GROUP}/target`, /target: not a snapshot: its device-mapper target is "linear"/);
    await expectRefused(`${GROUP}/nobody`, /nobody: no such device or logical volume/);
    await expectRefused('/dev/nowhere', /\/dev\/nowhere: no such device or logical volume/);
    await expectRefused('/dev/ubdb', /not a snapshot: ubdb is not a device-mapper device/);
    await expectRefused('/dev/null', /not a block device/);
  });

  it('an origin, and its snapshot while it is inactive', async () => {
    await createVolume(GROUP, 'origin', '8M');
    await createSnapshot(GROUP, 'origin', 'snap', { size: '1M' });
    await expectRefused(`${GROUP}/origin`, /an origin, not a snapshot: give the name of its snapshot/);
    await run(['lvchange', '-qq', '-an', `${GROUP}/origin`]);
    await expectRefused(`${GROUP}/snap`, /inactive: activate it first \(lvchange -ay -K vg-refused\/snap\)/);
    await run(['lvremove', '-qq', '-f', `${GROUP}/origin`]);
  });
});

describe('a classic snapshot that does not know every change', () => {
  it('because its store filled up', async () => {
    const origin = await createVolume(GROUP, 'full', '8M');
    await createSnapshot(GROUP, 'full', 'overfull', { size: '1M', chunkSize: '64k' });
    await scatterWrites(origin, { unit: 65_536, stride: 1, count: 20, seed: 'fill' });
    await expectRefused(`${GROUP}/overfull`, /overfull: the snapshot is invalid: its store filled up/);
    await run(['lvremove', '-qq', '-f', `${GROUP}/full`]);
  });

  it('because its table is kept in memory only, or hides discards, or overflowed unnoticed', async () => {
    const raw = await createVolume(GROUP, 'raw', '16M');
    const real = await mapDevice('by-hand-real', `0 16384 linear ${raw} 0`);
    const cow = await mapDevice('by-hand-cow', `0 256 linear ${raw} 16384`);
    const table = (words: string) => `0 16384 snapshot ${real} ${cow} ${words}`;
    try {
      await mapDevice('by-hand', table('N 8'));
      await mapDevice('by-hand-origin', `0 16384 snapshot-origin ${real}`);
      await expectRefused('by-hand', /by-hand: a transient snapshot: its store has no table/);

      await unmapDevices('by-hand');
      await run(['dd', 'if=/dev/zero', `of=${cow}`, 'bs=128k', 'count=1', 'conv=fsync', 'status=none']);
      await mapDevice('by-hand', table('P 8 2 discard_zeroes_cow discard_passdown_origin'));
      await expectRefused('by-hand', /discard_passdown_origin, which hides changes/);

      await unmapDevices('by-hand');
      await mapDevice('by-hand', table('PO 8'));
      // to the snapshot itself: the origin's first change past the store's end would make it invalid
      await expect(
        run(['dd', 'of=/dev/mapper/by-hand', 'bs=64k', 'oflag=direct', 'status=none'], {
          input: seededBytes('overflow', 1 << 20),
        }),
      ).rejects.toThrow(/dd/);
      expect(await run(['dmsetup', 'status', 'by-hand'])).toMatch(/Overflow/);
      await expectRefused('by-hand', /by-hand: the snapshot has overflowed/);

      await unmapDevices('by-hand-origin');
      await expectRefused('by-hand', /overflowed|no device has a snapshot-origin table/);
    } finally {
      await unmapDevices('by-hand', 'by-hand-cow', 'by-hand-real');
      await run(['lvremove', '-qq', '-f', `${GROUP}/raw`]);
    }
  });
});

describe('a snapshot that LVM merges into its origin', () => {
  const SLOW_GROUP = 'vg-slow';

  it('is refused, under its own name and its origin’s, until it is gone', async () => {
    const sectors = (await sectorsOf('/dev/ubdb')) - 2048;
    const table = (milliseconds: number) =>
      `0 ${sectors} delay /dev/ubdb 2048 0 /dev/ubdb 2048 ${milliseconds}`;
    const disk = await mapDevice('slow-disk', table(0));
    await createVolumeGroup(SLOW_GROUP, disk);
    const origin = await createVolume(SLOW_GROUP, 'origin', '8M');
    await createSnapshot(SLOW_GROUP, 'origin', 'merging', { size: '4M' });
    const base = await digestOf(origin);
    await scatterWrites(origin, { unit: 4096, stride: 9, count: 200, seed: 'merge' });
    await remapDevice('slow-disk', table(100));
    try {
      await run(['lvconvert', '-qq', '--merge', '--background', '-i', '1', `${SLOW_GROUP}/merging`]);
      const name = mapperName(SLOW_GROUP, 'origin');
      expect(await run(['dmsetup', 'table', name])).toMatch(/snapshot-merge/);
      await expectRefused(
        `${SLOW_GROUP}/merging`,
        /being merged into its origin: wait until the merge is done/,
      );
      await expectRefused(`/dev/mapper/${mapperName(SLOW_GROUP, 'merging')}`, /being merged into its origin/);
      await expectRefused(`${SLOW_GROUP}/origin`, /a snapshot is being merged into it/);
      expect(await run(['dmsetup', 'table', name])).toMatch(/snapshot-merge/);
    } finally {
      await remapDevice('slow-disk', table(0));
    }
    await waitUntil('LVM has merged', async () => {
      const names = await run(['lvs', '-a', '--noheadings', '-o', 'name', SLOW_GROUP]);
      return !names.includes('merging');
    });
    expect(await digestOf(origin)).toBe(base);
    await expectRefused(`${SLOW_GROUP}/merging`, /no such device or logical volume/);
    await removeVolumeGroup(SLOW_GROUP);
    await unmapDevices('slow-disk');
  });
});

describe('a host that cannot be asked', () => {
  const snapshot = `/dev/${GROUP}/good`;
  beforeAll(async () => {
    await createVolume(GROUP, 'volume', '8M');
    await createSnapshot(GROUP, 'volume', 'good', { size: '1M' });
  });

  it('because it has no device-mapper tools', async () => {
    // in a mount name space of its own
    const script = 'mount -t tmpfs none /usr/sbin && exec "$@"';
    const words = [process.execPath, ...lvmsyncCommand(snapshot, target).slice(1)];
    const { status, stderr } = await tryToRun(['unshare', '-m', 'bash', '-c', script, '-', ...words]);
    expect({ status, stderr }).toEqual({
      status: 12,
      stderr: expect.stringMatching(/dmsetup: not installed, or not in PATH/) as string,
    });
    expectPlainLines(stderr);
  });

  it('because its user has no permission', async () => {
    // the checkout and Node may lie where nobody cannot go
    const script = `
      mkdir -p /run/nobody/checkout && touch /run/nobody/node &&
      mount --bind "$1" /run/nobody/checkout && mount --bind "$2" /run/nobody/node && shift 2 &&
      exec setpriv --reuid 65534 --regid 65534 --clear-groups /run/nobody/node /run/nobody/checkout/bin/lvmsync.js "$@"`;
    const folders = [CHECKOUT, process.execPath];
    const words = ['unshare', '-m', 'bash', '-c', script, '-', ...folders, snapshot, target] as const;
    const { status, stderr } = await tryToRun(words);
    expect({ status, stderr }).toEqual({
      status: 12,
      stderr: expect.stringMatching(/permission denied: run lvmsync as root/) as string,
    });
    expectPlainLines(stderr);
    expect(existsSync('/run/nobody/checkout/bin')).toBe(false);
  });
});
