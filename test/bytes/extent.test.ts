import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  clipExtent,
  coalesceExtents,
  intersectExtents,
  splitExtents,
  subtractExtents,
  sumLengths,
  uniteExtents,
  type Extent,
} from '../../src/bytes/extent.js';

const extents = fc
  .array(fc.record({ offset: fc.nat(5000), length: fc.integer({ min: 1, max: 300 }) }), { maxLength: 40 })
  .map((each) => each.sort((a, b) => a.offset - b.offset));

function bytesOf(list: Iterable<Extent>): Set<number> {
  const bytes = new Set<number>();
  for (const { offset, length } of list) for (let i = 0; i < length; i++) bytes.add(offset + i);
  return bytes;
}

describe('extents', () => {
  it('coalesce to the same bytes, and no two touch', () => {
    fc.assert(
      fc.property(extents, (list) => {
        const joined = [...coalesceExtents(list)];
        expect(bytesOf(joined)).toEqual(bytesOf(list));
        for (let i = 1; i < joined.length; i++) {
          const before = joined[i - 1] ?? { offset: 0, length: 0 };
          expect(joined[i]?.offset).toBeGreaterThan(before.offset + before.length);
        }
      }),
    );
  });

  it('subtract to the bytes of the first that the second does not have, ascending', () => {
    fc.assert(
      fc.property(extents, extents, (left, right) => {
        const rest = [...subtractExtents(coalesceExtents(left), coalesceExtents(right))];
        const removed = bytesOf(right);
        expect(bytesOf(rest)).toEqual(new Set([...bytesOf(left)].filter((byte) => !removed.has(byte))));
        for (let i = 1; i < rest.length; i++) {
          const before = rest[i - 1] ?? { offset: 0, length: 0 };
          expect(rest[i]?.offset).toBeGreaterThanOrEqual(before.offset + before.length);
        }
        expect(rest.every(({ length }) => length > 0)).toBe(true);
      }),
    );
  });

  it('split to the same bytes, in pieces that end on the limit', () => {
    fc.assert(
      fc.property(extents, fc.integer({ min: 1, max: 128 }), (list, limit) => {
        const joined = [...coalesceExtents(list)];
        const pieces = [...splitExtents(joined, limit)];
        expect(pieces.flatMap((piece) => [...bytesOf([piece])])).toEqual(
          joined.flatMap((each) => [...bytesOf([each])]),
        );
        for (const { offset, length } of pieces) {
          expect(length).toBeLessThanOrEqual(limit);
          expect(Math.floor(offset / limit)).toBe(Math.floor((offset + length - 1) / limit));
        }
      }),
    );
  });

  it('clip at the end of a volume', () => {
    expect(clipExtent({ offset: 10, length: 10 }, 15)).toEqual({ offset: 10, length: 5 });
    expect(clipExtent({ offset: 10, length: 10 }, 20)).toEqual({ offset: 10, length: 10 });
    expect(clipExtent({ offset: 10, length: 10 }, 10)).toBeNull();
  });

  it('intersect and unite as sets of bytes do', () => {
    fc.assert(
      fc.property(extents, extents, (one, other) => {
        const [left, right] = [[...coalesceExtents(one)], [...coalesceExtents(other)]];
        const [a, b] = [bytesOf(left), bytesOf(right)];
        const common = [...intersectExtents(left, right)];
        expect(bytesOf(common)).toEqual(new Set([...a].filter((byte) => b.has(byte))));
        expect(sumLengths(common)).toBe(bytesOf(common).size);
        const either = [...uniteExtents(left, right)];
        expect(bytesOf(either)).toEqual(new Set([...a, ...b]));
        expect(either).toEqual([...coalesceExtents(either)]);
      }),
    );
  });
});
