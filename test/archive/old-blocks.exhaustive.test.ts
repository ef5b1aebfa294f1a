import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openArchive } from '../../src/archive/archive.js';
import { writeArchive } from '../../src/archive/new-archive.js';
import { oldBlocks } from '../../src/archive/old-blocks.js';
import { packBlocks } from '../../src/archive/pack-archive.js';
import { planCombination } from '../../src/chain/combination.js';
import { zlibCodec } from '../../src/codec/built-in-codecs.js';
import { BufferPool } from '../../src/memory/aligned-memory.js';
import { MemoryDevice } from '../support/memory-device.js';
import { landOn } from '../support/scenes/archives.js';
import { someHeader } from '../support/scenes/feed.js';

const UNIT = 4096;
const UNITS = 24;
/** Its last unit is not whole. */
const SIZE = UNITS * UNIT - 1000;
const CHUNK = 4 * UNIT;

let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-old-blocks-'))));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const fills = fc.array(fc.nat(3), { minLength: UNITS, maxLength: UNITS });
const volumeOf = (values: readonly number[]) => {
  const bytes = Buffer.alloc(SIZE);
  values.forEach((value, unit) => bytes.fill(value, unit * UNIT, Math.min((unit + 1) * UNIT, SIZE)));
  return bytes;
};

it('an undo made from two states takes the newer one back to the older one, and holds only the blocks that differ, each with its proof', async () => {
  let count = 0;
  await fc.assert(
    fc.asyncProperty(fills, fills, async (before, after) => {
      const [old, now] = [volumeOf(before), volumeOf(after)];
      const chunks = Array.from({ length: UNITS / 4 }, (_, index) => index * CHUNK).filter(
        (at) => !old.subarray(at, at + CHUNK).equals(now.subarray(at, at + CHUNK)),
      );
      const extents = () => chunks.map((offset) => ({ offset, length: Math.min(CHUNK, SIZE - offset) }));
      const path = join(folder, `undo-${count++}`);
      const pool = new BufferPool(4 * 1024 * 1024);
      const proved: number[] = [];
      await writeArchive(path, { ...someHeader(SIZE), kind: 'undo' }, async (writer) => {
        const blocks = oldBlocks(new MemoryDevice(old), new MemoryDevice(now), extents, pool.lend);
        for await (const block of packBlocks(blocks, { codec: zlibCodec, level: null }))
          await block.write(writer);
      });
      for await (const { offset, length, proof } of oldBlocks(
        new MemoryDevice(old),
        new MemoryDevice(now),
        extents,
        (length) => Promise.resolve({ bytes: Buffer.alloc(length), release: () => undefined }),
      )) {
        expect(proof).toEqual({ offset, length, crc: crc32(now.subarray(offset, offset + length)) });
        for (let at = offset; at < offset + length; at += UNIT) proved.push(at / UNIT);
      }

      const differing = before.flatMap((value, unit) => (value === after[unit] ? [] : [unit]));
      expect(proved).toEqual(differing);
      const plan = planCombination([await openArchive(path)]);
      expect(plan.bytes).toBe(differing.reduce((sum, unit) => sum + Math.min(UNIT, SIZE - unit * UNIT), 0));
      await landOn(now, plan);
      expect(now).toBeBytes(old);
    }),
    { numRuns: 40 },
  );
});
