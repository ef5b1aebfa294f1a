import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sumLengths } from '../../src/bytes/extent.js';
import { sampleUnits } from '../../src/sources/open-volume.js';

const UNIT = 1024 * 1024;

describe('a sample of a volume', () => {
  it('is as large as was asked for, and lies within the volume', () => {
    const sizes = fc.integer({ min: 1, max: 500 * UNIT });
    fc.assert(
      fc.property(sizes, fc.double({ min: 0.01, max: 100, noNaN: true }), (size, percent) => {
        const sample = sampleUnits(size, percent);
        const units = Math.ceil(size / UNIT);
        expect(sample.chunks.count).toBe(Math.ceil((units * percent) / 100));
        const extents = [...sample.extents()];
        expect(Math.ceil(sumLengths(extents) / UNIT)).toBe(sample.chunks.count);
        for (const { offset, length } of extents) expect(offset + length).toBeLessThanOrEqual(size);
      }),
    );
  });

  it('of everything is everything', () => {
    expect([...sampleUnits(7 * UNIT + 512, 100).extents()]).toEqual([{ offset: 0, length: 7 * UNIT + 512 }]);
  });

  it('of nothing is nothing', () => {
    expect([...sampleUnits(0, 50).extents()]).toEqual([]);
  });

  it('has each unit about as often as any other', () => {
    const counts = new Array<number>(20).fill(0);
    for (let round = 0; round < 2000; round++) {
      const { chunks } = sampleUnits(20 * UNIT, 25);
      for (let unit = 0; unit < 20; unit++) if (chunks.has(unit)) counts[unit] = (counts[unit] ?? 0) + 1;
    }
    // 500 each, with a deviation of 19: six of those are never met by chance
    for (const count of counts) expect(Math.abs(count - 500)).toBeLessThan(120);
  });
});
