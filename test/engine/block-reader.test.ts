import { describe, expect, it } from 'vitest';
import { readBlocks, type ReadBlock } from '../../src/engine/block-reader.js';
import { DeviceError } from '../../src/errors.js';
import { BufferPool } from '../../src/memory/aligned-memory.js';
import { MemoryDevice } from '../support/memory-device.js';

const KIB = 1024;
const contents = Buffer.from(Array.from({ length: 256 * KIB }, (_, i) => (i >> 9) & 0xff));

/** Lends like a pool and counts what is out. */
function countingPool(limit: number) {
  const pool = new BufferPool(limit);
  const counts = { out: 0, most: 0 };
  const lend = async (length: number) => {
    const lent = await pool.lend(length);
    counts.out += 1;
    counts.most = Math.max(counts.most, counts.out);
    const release = () => {
      counts.out -= 1;
      lent.release();
    };
    return { bytes: lent.bytes, release };
  };
  return { lend, counts };
}

describe('reading blocks', () => {
  it('gives every byte of the extents in order, in blocks up to the limit', async () => {
    const device = new MemoryDevice(contents);
    const { lend, counts } = countingPool(KIB * KIB);
    const extents = [
      { offset: 512, length: 100 * KIB },
      { offset: 200 * KIB, length: 1536 },
    ];
    const seen: Buffer[] = [];
    for await (const { offset, data } of readBlocks(device, extents, 16 * KIB, lend)) {
      expect(data.bytes.length).toBeLessThanOrEqual(16 * KIB);
      expect(data.bytes).toBeBytes(contents.subarray(offset, offset + data.bytes.length));
      seen.push(Buffer.from(data.bytes));
      data.release();
    }
    const wanted = extents.map(({ offset, length }) => contents.subarray(offset, offset + length));
    expect(Buffer.concat(seen)).toBeBytes(Buffer.concat(wanted));
    expect(counts.out).toBe(0);
  });

  it('reads neighbours in one go, and gives their memory back with the last of them', async () => {
    const device = new MemoryDevice(contents);
    const { lend, counts } = countingPool(KIB * KIB);
    const extents = [
      { offset: 0, length: 4 * KIB },
      { offset: 8 * KIB, length: 4 * KIB },
      { offset: 12 * KIB, length: 512 },
      // too far away, and past the limit of a block
      { offset: 100 * KIB, length: 8 * KIB },
      { offset: 128 * KIB, length: 24 * KIB },
    ];
    const taken: ReadBlock[] = [];
    for await (const block of readBlocks(device, extents, 32 * KIB, lend)) taken.push(block);
    expect(taken.map(({ offset, data }) => ({ offset, length: data.bytes.length }))).toEqual(extents);
    for (const { offset, data } of taken) {
      expect(data.bytes).toBeBytes(contents.subarray(offset, offset + data.bytes.length));
    }
    expect(counts.out).toBe(3);
    for (const { data } of taken.slice(1)) data.release();
    taken[1]?.data.release();
    expect(counts.out).toBe(1);
    taken[0]?.data.release();
    expect(counts.out).toBe(0);
  });

  it('does not fail for what lies between two blocks', async () => {
    const device = new MemoryDevice(contents, '/dev/vg/origin', { badByte: 6 * KIB });
    const { lend, counts } = countingPool(KIB * KIB);
    const seen: Buffer[] = [];
    const extents = [0, 8].map((offset) => ({ offset: offset * KIB, length: 4 * KIB }));
    for await (const { data } of readBlocks(device, extents, 32 * KIB, lend)) {
      seen.push(Buffer.from(data.bytes));
      data.release();
    }
    const wanted = [contents.subarray(0, 4 * KIB), contents.subarray(8 * KIB, 12 * KIB)];
    expect(Buffer.concat(seen)).toBeBytes(Buffer.concat(wanted));
    expect(counts.out).toBe(0);
  });

  it('reads ahead, but only so far', async () => {
    const { lend, counts } = countingPool(64 * KIB * KIB);
    const blocks = readBlocks(
      new MemoryDevice(contents),
      [{ offset: 0, length: contents.length }],
      4 * KIB,
      lend,
    );
    const first = await blocks.next();
    await new Promise(setImmediate);
    expect(counts.most).toBe(8);
    if (first.done !== true) first.value.data.release();
    await blocks.return(undefined);
    expect(counts.out).toBe(0);
  });

  it('gives all memory back when a read fails', async () => {
    const device = new MemoryDevice(contents, '/dev/vg/origin', { badByte: 10 * KIB });
    const { lend, counts } = countingPool(KIB * KIB);
    const reading = (async () => {
      for await (const { data } of readBlocks(
        device,
        [{ offset: 0, length: contents.length }],
        4 * KIB,
        lend,
      )) {
        data.release();
      }
    })();
    await expect(reading).rejects.toThrow(DeviceError);
    await expect(reading).rejects.toThrow('/dev/vg/origin: read at byte 8192');
    expect(counts.out).toBe(0);
  });
});
