import { describe, expect, it } from 'vitest';
import { BufferPool } from '../../src/memory/aligned-memory.js';

const MIB = 1024 * 1024;

describe('a pool of buffers', () => {
  it.each([-512, -1, Number.NaN, MIB + 1])('does not lend %i bytes', async (length) => {
    await expect(new BufferPool(8 * MIB).lend(length)).rejects.toThrow(RangeError);
  });

  it('lends buffers that do not overlap, also after it refused a length', async () => {
    const pool = new BufferPool(8 * MIB);
    await pool.lend(-512).catch(() => undefined);
    const [first, second] = [await pool.lend(512), await pool.lend(512)];
    first.bytes.fill(1);
    second.bytes.fill(2);
    expect([first.bytes[0], second.bytes[0]]).toEqual([1, 2]);
    first.release();
    second.release();
  });

  it('makes a request for more than it has wait for what comes back', async () => {
    const pool = new BufferPool(MIB);
    const first = await pool.lend(MIB);
    let isLent = false;
    const second = pool.lend(1).then((lent) => {
      isLent = true;
      return lent;
    });
    await new Promise(setImmediate);
    expect(isLent).toBe(false);
    first.release();
    (await second).release();
    expect(isLent).toBe(true);
  });
});
