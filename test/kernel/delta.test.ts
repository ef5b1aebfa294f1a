import { createHash } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice, readDirectly } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  mapperName,
  run,
  seededBytes,
  statusOf,
  tryToRun,
  writeBytes,
  writeRandom,
} from './support/lab.js';
import { expectFailure, reportOf, reportOfSuspect, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-delta';
const SNAPSHOT = `${GROUP}/snap`;
const BLOCK = 4096;
const MEBIBYTE = 1024 * 1024;

useVolumeGroup(GROUP);

/** Forgets what lvmsync knows of targets. */
function forgetRecords(): void {
  rmSync('/run/state/lvmsync', { recursive: true, force: true });
}

/** Different numbers below `limit`: the same each time, in no order. */
function scatter(count: number, limit: number): number[] {
  const found = new Set<number>();
  for (let i = 0; found.size < count; i++) {
    found.add(createHash('sha256').update(`${i}`).digest().readUInt32BE(0) % limit);
  }
  return [...found];
}

describe('a thousand random writes of 4 KiB', () => {
  const SIZE = 32 * MEBIBYTE;
  const WRITTEN = 1000 * BLOCK;
  let origin = '';
  let target = '';
  beforeAll(async () => {
    origin = await createVolume(GROUP, 'wide', '32M');
    target = await createVolume(GROUP, 'wide-target', '32M');
    await writeRandom(origin, 0, SIZE, 'base');
    await createSnapshot(GROUP, 'wide', 'coarse', { size: '40M', chunkSize: '512k' });
    await createSnapshot(GROUP, 'wide', 'fine', { size: '40M', chunkSize: '64k', permission: 'r' });
    await overwrite(origin, scatter(1000, SIZE / BLOCK), BLOCK, 'new');
  });
  afterAll(() => run(['lvremove', '-qq', '-f', `${GROUP}/wide`, `${GROUP}/wide-target`]));
  beforeEach(async () => {
    await copyDevice(`/dev/${GROUP}/fine`, target);
    forgetRecords();
  });

  it.each(['coarse', 'fine'])('are sent as they are from %s chunks', async (snapshot) => {
    const report = await reportOf(`${GROUP}/${snapshot}`, target);
    expect(report).toMatchObject({ changedBytes: WRITTEN, mismatches: 0 });
    expect(report['tableBytes']).toBeGreaterThan(WRITTEN * 7);
    expect(report['sentBytes']).toBeLessThan(WRITTEN * 1.15);
    await expectSameBytes(target, origin);
  });

  it('are sent as they are into a pipe', async () => {
    const script = '"${@:1:2}" "$3" --stdout | "${@:1:2}" --json --apply - "$4"';
    const words = [...lvmsyncCommand(), `${GROUP}/fine`, target];
    const applied = await run(['bash', '-o', 'pipefail', '-c', script, 'pipe', ...words]);
    expect(JSON.parse(applied)).toMatchObject({ changedBytes: WRITTEN, mismatches: 0 });
    await expectSameBytes(target, origin);
  });
});

describe('what a snapshot with 64 KiB chunks lists', () => {
  const SIZE = 8 * MEBIBYTE;
  let origin = '';
  let target = '';
  beforeAll(async () => {
    origin = await createVolume(GROUP, 'origin', '8M');
    target = await createVolume(GROUP, 'target', '8M');
  });

  /** A fresh origin, its snapshot, and a target that holds what the snapshot froze. */
  beforeEach(async () => {
    await writeRandom(origin, 0, SIZE, 'base');
    await copyDevice(origin, target);
    forgetRecords();
    await renewSnapshot();
  });

  async function renewSnapshot(permission: 'r' | 'rw' = 'rw'): Promise<void> {
    await run(['bash', '-c', 'lvremove -qq -f "$1" 2>/dev/null; true', 'remove', SNAPSHOT]);
    await createSnapshot(GROUP, 'origin', 'snap', { size: '10M', chunkSize: '64k', permission });
  }

  async function expectEqual(): Promise<void> {
    await expectSameBytes(target, origin);
  }

  /** Sends into a pipe what is applied at its other end. */
  async function streamed(...options: readonly string[]) {
    const script = '"${@:1:2}" "${@:5}" "$3" --stdout | "${@:1:2}" --apply - "$4"';
    const words = [...lvmsyncCommand(), SNAPSHOT, target, ...options];
    const { status, stderr } = await tryToRun(['bash', '-o', 'pipefail', '-c', script, 'pipe', ...words]);
    return { status, stderr };
  }

  it('is not sent at all if it was rewritten as it was; a block of zeroes counts too', async () => {
    const same = seededBytes('base', SIZE);
    for (const chunk of [3, 4, 40])
      await writeBytes(origin, chunk * 65_536, same.subarray(chunk * 65_536, (chunk + 1) * 65_536));
    await writeBytes(origin, 100 * 65_536 + 8192, Buffer.alloc(BLOCK));
    const report = await reportOf(SNAPSHOT, target);
    expect(report).toMatchObject({ tableBytes: 4 * 65_536, changedBytes: BLOCK, blocks: 1, mismatches: 0 });
    // beside that, the closer sample of a target that is not known for sure
    expect(report['sentBytes']).toBeLessThan(8 * BLOCK + 32 * 1024);
    await expectEqual();
  });

  it('is compared in blocks of the chosen size', async () => {
    await overwrite(origin, [7, 8, 999, 15_000], 512, 'sectors');
    expect(await reportOf('--block-size', '512', SNAPSHOT, target)).toMatchObject({
      changedBytes: 4 * 512,
      blocks: 3,
    });
    await expectEqual();
  });

  it('can be taken back: by a snapback', async () => {
    await overwrite(origin, [1, 17, 18, 1000, 2047], BLOCK, 'new');
    const before = await digestOf(target);
    rmSync('/run/delta.undo', { force: true });
    await runLvmsync('-b', '/run/delta.undo', SNAPSHOT, target);
    await expectEqual();
    await runLvmsync('--apply', '/run/delta.undo', target);
    expect(await digestOf(target)).toBe(before);
  });

  describe('if the snapshot was written to, so that its old bytes are not those of the target', () => {
    it('with X, and so was the origin later: what looks equal is not', async () => {
      for (const device of [`/dev/${SNAPSHOT}`, origin]) {
        await writeRandom(device, MEBIBYTE + 8192, 100_000 - (100_000 % 512), 'X');
      }
      await overwrite(origin, [5, 1900], BLOCK, 'too');
      expect(await streamed()).toMatchObject({
        status: 7,
        stderr: expect.stringMatching(/target: at byte 1048576: .*--whole-chunks/) as string,
      });
      expect(await streamed('--whole-chunks')).toMatchObject({ status: 0 });
      await expectEqual();
    });

    it('because its ext4 was mounted read-only, which replayed the journal, and later the origin’s too', async () => {
      const work = await createVolume(GROUP, 'work', '8M');
      mkdirSync('/run/delta', { recursive: true });
      await run(['mkfs.ext4', '-q', '-F', '-b', '4096', '-E', 'lazy_itable_init=0', work]);
      // committed to the journal, but not in its place
      await run(['mount', work, '/run/delta']);
      for (const name of ['a', 'b', 'c']) {
        await run(['dd', 'if=/dev/urandom', `of=/run/delta/${name}`, 'bs=64k', 'count=3', 'conv=fsync']);
      }
      await copyDevice(work, origin);
      await run(['umount', '/run/delta']);
      await copyDevice(origin, target);
      await renewSnapshot();
      for (const device of [`/dev/${SNAPSHOT}`, origin]) {
        await run(['mount', ...(device === origin ? [] : ['-o', 'ro']), device, '/run/delta']);
        await run(['umount', '/run/delta']);
      }
      expect((await statusOf(mapperName(GROUP, 'snap'), 65_536)).exceptions).toBeGreaterThan(0);
      const report = await reportOfSuspect(SNAPSHOT, target);
      expect(report['mismatches']).toBeGreaterThan(0);
      await expectEqual();
      await run(['fsck.ext4', '-n', '-f', target]);
    });
  });

  it('a second time, after the origin was taken back: what looks equal is not', async () => {
    const there = [5, 100, 101, 1000, 2000];
    await renewSnapshot('r');
    await overwrite(origin, there, BLOCK, 'there');
    expect(await reportOf(SNAPSHOT, target)).toMatchObject({ mismatches: 0 });
    await expectEqual();
    const base = await readDirectly(`/dev/${SNAPSHOT}`, 0, SIZE);
    for (const block of there.slice(0, -1)) {
      await writeBytes(origin, block * BLOCK, base.subarray(block * BLOCK, (block + 1) * BLOCK));
    }
    const report = await reportOf(SNAPSHOT, target);
    // what the first run brought is neither old nor new, as is to be expected
    expect(report).toMatchObject({ mismatches: 0 });
    await expectEqual();
  });

  it('is sent whole to a target that someone wrote to, and counted', async () => {
    await overwrite(origin, [16 * 20, 16 * 30], BLOCK, 'new');
    // in the chunk of the second one, not in the same block
    await writeRandom(target, 30 * 65_536 + 12_288, 512, 'someone');
    const stopping = ['--on-base-mismatch', 'stop', SNAPSHOT, target];
    await expectFailure(stopping, 7, new RegExp(`target: at byte ${30 * 65_536}: `));
    const { status, stderr } = await lvmsync([SNAPSHOT, target]);
    expect({ status, stderr }).toMatchObject({
      status: 11,
      stderr: expect.stringMatching(/someone wrote to it.*: 1 of the replaced blocks/) as string,
    });
    await expectEqual();
  });
});

/** Overwrites blocks of a device, each with other bytes, and sees them onto it. */
async function overwrite(
  device: string,
  blocks: Iterable<number>,
  length: number,
  seed: string,
): Promise<void> {
  const file = await open(device, 'r+');
  try {
    for (const block of blocks) {
      await file.write(seededBytes(`${seed} ${block}`, length), 0, length, block * length);
    }
    await file.datasync();
  } finally {
    await file.close();
  }
}
