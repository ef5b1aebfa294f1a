import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Extent } from '../../src/bytes/extent.js';
import { ExtentTable } from '../../src/archive/extent-table.js';
import { Layers } from '../../src/archive/layers.js';

/** Bytes of a small volume, each of which a test looks at. */
const SIZE = 32;

function layersOf(...tables: readonly (readonly [from: number, to: number][])[]): Layers {
  const layers = new Layers();
  for (const extents of tables) layers.add(tableOf(extents));
  return layers;
}

function tableOf(extents: readonly (readonly [from: number, to: number])[]): ExtentTable {
  const table = new ExtentTable();
  extents.forEach(([from, to], index) => {
    table.add({ offset: from, length: to - from, position: 1000 + index, blockOffset: from, source: 0 });
  });
  return table;
}

const extent = (from: number, to: number): Extent => ({ offset: from, length: to - from });

/** Ascending, without overlaps; some adjoin. */
const extents = fc
  .uniqueArray(fc.nat(SIZE), { maxLength: 12 })
  .map((bounds) => [...bounds].sort((a, b) => a - b))
  .chain((bounds) => fc.tuple(fc.constant(bounds), fc.array(fc.boolean(), { minLength: 12, maxLength: 12 })))
  .map(([bounds, isIn]) =>
    bounds.slice(1).flatMap((to, index): [number, number][] => {
      const from = bounds[index] ?? 0;
      return isIn[index] === true ? [[from, to]] : [];
    }),
  );

/** Of each byte the layer that is seen there and the block that it is of, or null. */
function drawn(table: Iterable<{ offset: number; length: number; source: number; blockOffset: number }>) {
  const bytes = Array.from({ length: SIZE }, (): string | null => null);
  for (const { offset, length, source, blockOffset } of table) {
    expect(length).toBeGreaterThan(0);
    bytes.fill(`${source} from ${blockOffset}`, offset, offset + length);
  }
  return bytes;
}

describe('layers', () => {
  it('touch nothing after their last extent', () => {
    const layers = layersOf([[4, 8]]);
    expect([extent(0, 5), extent(7, 9), extent(4, 8)].map((each) => layers.touch(each))).toEqual([
      true,
      true,
      true,
    ]);
    expect([extent(0, 4), extent(8, 9), extent(20, 30)].map((each) => layers.touch(each))).toEqual([
      false,
      false,
      false,
    ]);
  });

  it('show within an extent only what lies in it, although a lower extent begins before it and ends within it', () => {
    const lower: [number, number][] = [
      [0, 10],
      [20, 21],
      [22, 23],
    ];
    const seen = layersOf(lower, [[4, 12]]).seenIn([extent(5, 11), extent(14, 16)]);
    expect([...seen]).toEqual([{ offset: 5, length: 6, position: 1000, blockOffset: 4, source: 1 }]);
  });

  it('show within extents what they show of the whole, cut at the extents', () => {
    fc.assert(
      fc.property(fc.array(extents, { minLength: 1, maxLength: 9 }), extents, (tables, asked) => {
        const layers = layersOf(...tables);
        const wanted = drawn(layers.seen());
        const isAsked = (byte: number) => asked.some(([from, to]) => from <= byte && byte < to);
        const seen = layers.seenIn(asked.map(([from, to]) => extent(from, to)));
        expect(drawn(seen)).toEqual(wanted.map((what, byte) => (isAsked(byte) ? what : null)));
        for (const piece of seen) {
          const end = piece.offset + piece.length;
          expect(asked.some(([from, to]) => from <= piece.offset && end <= to)).toBe(true);
        }
        for (const [from, to] of asked) {
          expect(layers.touch(extent(from, to))).toBe(wanted.slice(from, to).some((what) => what !== null));
        }
      }),
      { numRuns: 400 },
    );
  });
});
