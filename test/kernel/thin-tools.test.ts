import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readThinDelta, type ThinRangeKind, readThinDeltaFailure } from '../../src/changes/thin-delta.js';
import { SnapshotError } from '../../src/errors.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { findDeviceNumber } from '../../src/lvm/device-node.js';
import { findThinPool } from '../../src/snapshots/thin-pool.js';
import { findThinDelta } from '../../src/snapshots/thin-tools.js';
import { readMappedExtents } from '../../src/sources/read-thin-delta.js';
import { quietSurroundings } from '../support/surroundings.js';
import { copyDevice, mapDevice, readDirectly, unmapDevices } from './support/devices.js';
import {
  createVolume,
  digestOf,
  run,
  seededBytes,
  tryToRun,
  writeBytes,
  writeRandom,
} from './support/lab.js';
import { reportOf } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { mappingOf, POOL_CHUNK, restoreMetadata, type Mapping } from './support/thin-metadata.js';
import { useVolumeGroup } from './support/volume-group.js';

// Metadata that thin_restore makes of mappings which the test chose: what thin_delta of this system says of them is
// compared with these mappings, so it is right or wrong whatever its version.

const GROUP = 'vg-thin-tools';
const MIB = 1024 * 1024;
const BLOCK = 4096;
const POOL_CHUNKS = 1024;

/** A device, as thin_delta reads directly, which neither a tmpfs nor the guest's root can do. */
let metadata = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  metadata = await createVolume(GROUP, 'metadata', '4M');
});

/** Neighbours in the volume that are not neighbours in the pool, as thin_delta 1.0.0 to 1.0.5 did not see. */
const SCATTERED: readonly (readonly [name: string, old: Mapping, now: Mapping])[] = [
  ['a second half elsewhere', mappingOf([0, 0, 16], [16, 100, 16]), mappingOf([0, 0, 16], [16, 200, 16])],
  ['a first half elsewhere', mappingOf([0, 100, 16], [16, 0, 16]), mappingOf([0, 200, 16], [16, 0, 16])],
  ['a middle elsewhere', mappingOf([0, 0, 32]), mappingOf([0, 0, 10], [10, 300, 3], [13, 13, 19])],
  ['both halves exchanged', mappingOf([0, 0, 32]), mappingOf([0, 16, 16], [16, 0, 16])],
  ['each second chunk elsewhere', mappingOf([0, 0, 32]), everySecondElsewhere()],
  [
    'runs that begin and end elsewhere',
    mappingOf([3, 0, 9], [12, 50, 9]),
    mappingOf([6, 3, 6], [12, 70, 12]),
  ],
  ['more at both ends', mappingOf([8, 8, 8]), mappingOf([0, 200, 8], [8, 8, 8], [16, 16, 8])],
];

function everySecondElsewhere(): Mapping {
  return new Map(Array.from({ length: 32 }, (_, i) => [i, i % 2 === 0 ? i : 500 + i]));
}

function ascending(mapping: Mapping): Mapping {
  return new Map([...mapping].sort(([a], [b]) => a - b));
}

async function makeMetadata(devices: readonly Mapping[]): Promise<void> {
  await writeBytes(metadata, 0, Buffer.alloc(4 * MIB));
  await restoreMetadata(metadata, POOL_CHUNKS, devices);
}

/** A block of metadata with a few other bytes in it, so that its checksum is wrong. */
function damaged(block: Buffer): Buffer {
  return Buffer.from(block.map((byte, i) => (i >= 100 && i < 104 ? byte ^ 0x55 : byte)));
}

const runThinDelta = (right = 2) =>
  tryToRun(['thin_delta', '--thin1', '1', '--thin2', String(right), metadata]);

describe('this system’s thin_delta', () => {
  it('is of a version that lvmsync trusts', async () => {
    const { version } = await findThinDelta(quietSurroundings());
    expect(await run(['thin_delta', '-V'])).toContain(version);
  });

  it.each(SCATTERED)('reports what changed if the pool holds %s', async (_, old, now) => {
    await makeMetadata([old, now]);
    const { status, stdoutBytes } = await runThinDelta();
    expect(status).toBe(0);
    expect(await parseDelta(stdoutBytes)).toEqual(compareMappings(old, now));
  });

  it.each(['a', 'b', 'c', 'd'])('reports what changed if writes came in random order (%s)', async (seed) => {
    const [old, now] = randomPair(seed);
    const truth = compareMappings(old, now);
    expect(new Set(truth.values()).size).toBe(4);
    await makeMetadata([old, now]);
    expect(await parseDelta((await runThinDelta()).stdoutBytes)).toEqual(truth);
  });

  it('fails if metadata is damaged, in words that are understood, or is right anyway', async () => {
    const [old, now] = randomPair('damaged');
    await makeMetadata([old, now]);
    const truth = compareMappings(old, now);
    const intact = await readDirectly(metadata, 0, 4 * MIB);
    let failures = 0;
    for (let offset = 0; offset < intact.length; offset += BLOCK) {
      const block = intact.subarray(offset, offset + BLOCK);
      if (block.every((byte) => byte === 0)) continue;
      await writeBytes(metadata, offset, damaged(block));
      const { status, stdoutBytes, stderr } = await runThinDelta();
      await writeBytes(metadata, offset, block);
      if (status === 0) {
        expect(await parseDelta(stdoutBytes)).toEqual(truth);
        continue;
      }
      failures++;
      expect({ offset, stderr, ...readThinDeltaFailure(stderr) }).toMatchObject({
        isDamage: true,
        missing: null,
      });
      await expect(parseDelta(stdoutBytes)).rejects.toThrow(/cut short/);
    }
    // the superblock, and the mappings of both
    expect(failures).toBeGreaterThan(4);
  });

  it('fails if a device is missing, in words that are understood', async () => {
    await makeMetadata([mappingOf([0, 0, 1]), mappingOf([0, 1, 1])]);
    const { status, stderr } = await runThinDelta(9);
    expect(status).not.toBe(0);
    expect(readThinDeltaFailure(stderr)).toEqual({
      said: 'Unable to find mapping tree for snap2 (9)',
      missing: 'right',
      isDamage: false,
    });
  });
});

describe('a pool whose metadata was restored', () => {
  /** In the volume: 16 chunks as they were, 16 that are elsewhere in the pool, 8 that are gone, 8 that are new. */
  const OLD = mappingOf([0, 0, 16], [16, 100, 16], [32, 40, 8]);
  const NOW = mappingOf([0, 0, 16], [16, 200, 16], [48, 60, 8]);
  const VOLUME_CHUNKS = 64;
  const env = { ...quietSurroundings(new ProcessSpawner(process.env)), stateDir: '/run/thin-tools-state' };

  beforeAll(async () => {
    const data = await createVolume(GROUP, 'data', '64M');
    await writeRandom(data, 0, POOL_CHUNKS * POOL_CHUNK, 'data');
    await makeMetadata([OLD, NOW]);
    const sectors = (POOL_CHUNK / 512) * POOL_CHUNKS;
    const words = `${metadata} ${data} ${POOL_CHUNK / 512} 0 1 skip_block_zeroing`;
    const pool = await mapDevice('tools-pool', `0 ${sectors} thin-pool ${words}`);
    const volumeSectors = (POOL_CHUNK / 512) * VOLUME_CHUNKS;
    await mapDevice('tools-old', `0 ${volumeSectors} thin ${pool} 1`);
    await mapDevice('tools-now', `0 ${volumeSectors} thin ${pool} 2`);
  });
  afterAll(() => unmapDevices('tools-now', 'tools-old', 'tools-pool'));

  it('takes a copy of the old volume to the new one, by everything that changed and nothing else', async () => {
    const target = await createVolume(GROUP, 'target', '4M');
    await copyDevice('/dev/mapper/tools-old', target);
    expect(await digestOf(target)).not.toBe(await digestOf('/dev/mapper/tools-now'));
    const report = await reportOf('/dev/mapper/tools-old', target, '-r', '/dev/mapper/tools-now');
    expect(report).toMatchObject({ tableBytes: 32 * POOL_CHUNK, mismatches: 0 });
    await expectSameBytes(target, '/dev/mapper/tools-now');
  });

  it('reports what a device maps, and that a missing device is gone', async () => {
    const pool = await findThinPool(
      env.spawner,
      await findDeviceNumber(env.spawner, '/dev/mapper/tools-pool'),
    );
    const mapped = (await readMappedExtents(pool, 2, env)).flatMap(({ offset, length }) =>
      Array.from({ length: length / POOL_CHUNK }, (_, i) => offset / POOL_CHUNK + i),
    );
    expect(mapped).toEqual([...NOW.keys()]);
    const reading = readMappedExtents(pool, 99, env);
    await expect(reading).rejects.toThrow(SnapshotError);
    await expect(reading).rejects.toThrow(
      /^device 99 of tools-pool: not in the metadata of the thin pool tools-pool as device 99 \(thin_delta \d+\.\d+\.\d+: Unable to find mapping tree for snap1 \(99\)\); it was removed during the run/,
    );
    expect((await run(['dmsetup', 'status', 'tools-pool'])).split(' ')[6]).toBe('-');
  });
});

/** A device that was written in random order, and one that came from it by writes and discards. */
function randomPair(seed: string): readonly [old: Mapping, now: Mapping] {
  const random = seededBytes(seed, 64 * 1024);
  let at = 0;
  const below = (end: number): number => random.readUInt32LE((at += 4)) % end;
  let free = 0;
  const write = (mapping: Map<number, number>, times: number): void => {
    for (let i = 0; i < times; i++) {
      const [first, count] = [below(300), 1 + below(6)];
      for (let chunk = first; chunk < first + count; chunk++) mapping.set(chunk, free++);
      // now and then what follows is no neighbour in the pool
      free += below(3) === 0 ? 1 : 0;
    }
  };
  const old = new Map<number, number>();
  write(old, 80);
  const now = new Map(old);
  write(now, 40);
  for (let i = 0; i < 20; i++) now.delete(below(300));
  return [ascending(old), ascending(now)];
}

/** What each chunk that either device maps is. */
function compareMappings(old: Mapping, now: Mapping): Map<number, ThinRangeKind> {
  const chunks = [...new Set([...old.keys(), ...now.keys()])].sort((a, b) => a - b);
  return new Map(
    chunks.map((chunk): [number, ThinRangeKind] => {
      if (!now.has(chunk)) return [chunk, 'left_only'];
      if (!old.has(chunk)) return [chunk, 'right_only'];
      return [chunk, old.get(chunk) === now.get(chunk) ? 'same' : 'different'];
    }),
  );
}

/** What thin_delta prints of devices 1 and 2, by chunks. */
async function parseDelta(printed: Buffer): Promise<Map<number, ThinRangeKind>> {
  const kinds = new Map<number, ThinRangeKind>();
  const pieces = async function* () {
    yield await Promise.resolve(printed);
  };
  const expected = { left: 1, right: 2, chunkSize: POOL_CHUNK };
  await readThinDelta(pieces(), expected, 'thin_delta', (kind, begin, length) => {
    for (let chunk = begin; chunk < begin + length; chunk++) kinds.set(chunk, kind);
  });
  return kinds;
}
