import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChunkMap } from '../../src/changes/base-view.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import { trackingOf } from '../support/change-source.js';

// Around the edges of words and pages, and far beyond 32 bits.
const chunk = fc.oneof(
  fc.nat(200),
  fc.integer({ min: 32_700, max: 32_900 }),
  fc.integer({ min: 2 ** 40, max: 2 ** 40 + 99 }),
);

function setOf(chunks: Iterable<number>): ChunkSet {
  const set = new ChunkSet();
  for (const each of chunks) set.add(each);
  return set;
}

describe('ChunkSet', () => {
  it('is a set: runs ascend, apart, and hold each chunk once', () => {
    fc.assert(
      fc.property(fc.array(chunk), (chunks) => {
        const set = setOf(chunks);
        const runs = [...set.runs()];
        const listed = runs.flatMap(({ offset, length }) => Array.from({ length }, (_, i) => offset + i));
        expect(listed).toEqual([...new Set(chunks)].sort((a, b) => a - b));
        expect(set.count).toBe(listed.length);
        for (let i = 1; i < runs.length; i++) {
          const before = runs[i - 1] ?? { offset: 0, length: 0 };
          expect(runs[i]?.offset).toBeGreaterThan(before.offset + before.length);
        }
      }),
    );
  });

  it('adds ranges as it adds their chunks', () => {
    const range = fc.tuple(chunk, fc.integer({ min: -3, max: 300 }));
    fc.assert(
      fc.property(fc.array(chunk), fc.array(range, { maxLength: 5 }), (chunks, ranges) => {
        const [set, each] = [setOf(chunks), setOf(chunks)];
        for (const [from, length] of ranges) {
          set.addRange(from, from + length);
          for (let i = 0; i < length; i++) each.add(from + i);
        }
        expect([...set.runs()]).toEqual([...each.runs()]);
        expect(set.count).toBe(each.count);
      }),
    );
  });

  it('lists what another set lacks', () => {
    fc.assert(
      fc.property(fc.array(chunk), fc.array(chunk), (a, b) => {
        const rest = setOf(a).without(setOf(b));
        const expected = new Set(a.filter((each) => !b.includes(each)));
        expect(rest.count).toBe(expected.size);
        for (const each of expected) expect(rest.has(each)).toBe(true);
      }),
    );
  });
});

describe('ChunkMap', () => {
  it('keeps a number for each chunk of its set, and for no other chunk', () => {
    fc.assert(
      fc.property(fc.array(chunk), fc.array(chunk), (chunks, others) => {
        const map = new ChunkMap(setOf(chunks));
        for (const each of chunks) map.set(each, each * 3);
        for (const each of others) if (!chunks.includes(each)) map.set(each, 1);
        for (const each of chunks) expect(map.get(each)).toBe(each * 3);
        for (const each of others) expect(map.get(each)).toBe(chunks.includes(each) ? each * 3 : undefined);
      }),
    );
  });
});

describe('ChangeSet', () => {
  const grown = { granularity: 4096, trackedSize: 8192, volumeSize: 20_480 };

  it('clips the last chunk at the end of the volume', () => {
    const set = new ChangeSet(trackingOf(4096, 9000), setOf([0, 2]));
    expect([...set.extents()]).toEqual([
      { offset: 0, length: 4096 },
      { offset: 8192, length: 808 },
    ]);
    expect(set.changedBytes).toBe(4904);
  });

  it('sends the tail of a volume that has grown', () => {
    const set = new ChangeSet(grown, setOf([1]));
    expect([...set.extents()]).toEqual([
      { offset: 4096, length: 4096 },
      { offset: 8192, length: 12_288 },
    ]);
    expect(set.trackedBytes).toBe(4096);
    expect(set.changedBytes).toBe(16_384);
  });

  it('does not send that tail again in a later pass', () => {
    const first = new ChangeSet(grown, setOf([1]));
    const again = new ChangeSet(grown, setOf([0, 1]));
    expect([...again.since(first).extents()]).toEqual([{ offset: 0, length: 4096 }]);
  });
});
