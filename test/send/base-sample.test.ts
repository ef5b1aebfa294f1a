import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import { takeCloserSample, takeSample } from '../../src/send/base-sample.js';
import { trackingOf, volumeOf } from '../support/change-source.js';
import { MemoryDevice } from '../support/memory-device.js';
import { pool } from '../support/streams.js';

const BLOCK = 4096;

function changes(volume: MemoryDevice, granularity: number, chunks: readonly number[]): ChangeSet {
  const set = new ChunkSet();
  for (const chunk of chunks) set.add(chunk);
  return new ChangeSet(trackingOf(granularity, volume.size), set);
}

it('takes one block of each of 1,024 equal parts of a volume', async () => {
  const volume = volumeOf(8 * 1024, 1);
  const proofs = await takeCloserSample(volume, changes(volume, BLOCK, []), pool());
  expect(proofs.map(({ offset }) => Math.floor(offset / BLOCK / 8))).toEqual([...Array(1024).keys()]);
  expect(new Set(proofs.map(({ offset }) => offset % (8 * BLOCK))).size).toBe(8);
});

it('takes all of a small volume', async () => {
  const volume = new MemoryDevice(volumeOf(30, 1).bytes.subarray(0, 29 * BLOCK + 512), 'small');
  const set = changes(volume, BLOCK, [3]);
  const closer = await takeCloserSample(volume, set, pool());
  const { changed, unchanged } = await takeSample(volume, volume, set, pool());
  for (const proofs of [closer, unchanged]) {
    expect(proofs.map(({ offset }) => offset / BLOCK)).toEqual([...Array(30).keys()].filter((n) => n !== 3));
    expect(proofs.at(-1)?.length).toBe(512);
  }
  expect(changed).toEqual([expect.objectContaining({ offset: 3 * BLOCK, length: BLOCK })]);
});

it('never takes a block that touches a changed chunk, whatever the chunk’s size, and takes the bytes that are there', async () => {
  const volume = volumeOf(500, 1);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(512, 1024, BLOCK, 16_384, 524_288),
      fc.uniqueArray(fc.nat({ max: 4000 }), { maxLength: 300 }),
      async (granularity, chunks) => {
        const set = changes(
          volume,
          granularity,
          chunks.filter((chunk) => chunk * granularity < volume.size),
        );
        const { changed, unchanged } = await takeSample(volume, volume, set, pool());
        const closer = await takeCloserSample(volume, set, pool());
        const isChanged = (at: number) => set.chunks.has(Math.floor(at / granularity));
        const touched = [...unchanged, ...closer].flatMap(({ offset, length }) =>
          Array.from({ length: length / 512 }, (_, sector) => offset + sector * 512).filter(isChanged),
        );
        expect(touched).toEqual([]);
        expect(changed.filter(({ offset }) => !isChanged(offset))).toEqual([]);
        const wrong = [...changed, ...unchanged, ...closer].filter(
          ({ offset, length, crc }) => crc32(volume.bytes.subarray(offset, offset + length)) !== crc,
        );
        expect(wrong).toEqual([]);
      },
    ),
    { numRuns: 30 },
  );
});

it('rather takes blocks that hold something than zeroes', async () => {
  const volume = new MemoryDevice(128 * 4 * BLOCK, 'mostly-empty');
  for (let part = 0; part < 128; part++)
    volume.bytes.fill('x', (part * 4 + 2) * BLOCK, (part * 4 + 4) * BLOCK);
  const { unchanged } = await takeSample(volume, volume, changes(volume, BLOCK, []), pool());
  const telling = unchanged.filter(({ offset }) => volume.bytes[offset] !== 0);
  expect(unchanged).toHaveLength(128);
  // by chance half of them
  expect(telling.length).toBeGreaterThan(100);
});
