import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Extent } from '../../src/bytes/extent.js';
import { ThinChanges } from '../../src/changes/thin-changes.js';
import type { ThinRangeKind } from '../../src/changes/thin-delta.js';

const CHUNK = 4;

/** What each chunk of a device is mapped to: a number, or null for nothing. */
type Mapping = readonly (number | null)[];

/** What thin_delta says of two mappings, chunk by chunk: also of what lies past a device's end. */
function* deltaOf(left: Mapping, right: Mapping): Generator<[ThinRangeKind, number, number]> {
  for (let chunk = 0; chunk < Math.max(left.length, right.length); chunk++) {
    const [old, now] = [left[chunk] ?? null, right[chunk] ?? null];
    if (old === null && now === null) continue;
    if (old === null) yield ['right_only', chunk, 1];
    else if (now === null) yield ['left_only', chunk, 1];
    else yield [old === now ? 'same' : 'different', chunk, 1];
  }
}

/** The bytes that a device shows: of each chunk its data's number, zeroes where there is none. */
function show(mapping: Mapping, size: number, unmapped = 0): number[] {
  return Array.from({ length: size }, (_, at) => mapping[Math.floor(at / CHUNK)] ?? unmapped);
}

function bytesOf(extents: Iterable<Extent>): number[] {
  return [...extents].flatMap(({ offset, length }) => Array.from({ length }, (_, i) => offset + i));
}

function changesOf(
  left: Mapping,
  right: Mapping,
  oldSize: number,
  newSize: number,
  hasExternalOrigin = false,
) {
  const gathered = new ThinChanges({ chunkSize: CHUNK, oldSize, newSize, hasExternalOrigin });
  for (const range of deltaOf(left, right)) gathered.take(...range);
  return gathered.finish();
}

const mapping = fc.array(fc.option(fc.integer({ min: 1, max: 3 }), { nil: null }), { maxLength: 12 });
const size = fc.integer({ min: 1, max: 12 * CHUNK });

describe('the changes between two thin devices', () => {
  it('turn a copy of the one into the other, on a target that held anything past its end', () => {
    fc.assert(
      fc.property(mapping, mapping, size, size, fc.boolean(), (left, right, oldSize, newSize, isExternal) => {
        const changes = changesOf(left, right, oldSize, newSize, isExternal);
        const external = isExternal ? 7 : 0;
        const wanted = show(right, newSize, external);
        const target = [...show(left, oldSize, external), ...Array.from({ length: newSize }, () => 9)];
        for (const at of bytesOf(changes.dataExtents())) target[at] = wanted[at] ?? NaN;
        for (const at of bytesOf(changes.discardedExtents())) target[at] = 0;
        expect(target.slice(0, newSize)).toEqual(wanted);
      }),
      { numRuns: 500 },
    );
  });

  it('are data and discards, which together are all that changed, once', () => {
    fc.assert(
      fc.property(mapping, mapping, size, size, (left, right, oldSize, newSize) => {
        const changes = changesOf(left, right, oldSize, newSize);
        const parts = [...bytesOf(changes.dataExtents()), ...bytesOf(changes.discardedExtents())];
        expect(parts.sort((a, b) => a - b)).toEqual(bytesOf(changes.extents()));
        expect(changes.changedBytes).toBe(parts.length);
      }),
    );
  });

  it('leave out what is the same in both, up to the end of the smaller one', () => {
    const changes = changesOf([1, 2, null, 4], [1, 3, 5, null], 4 * CHUNK, 4 * CHUNK);
    expect([...changes.dataExtents()]).toEqual([{ offset: 4, length: 8 }]);
    expect([...changes.discardedExtents()]).toEqual([{ offset: 12, length: 4 }]);
    expect(changes.trackedBytes).toBe(12);
  });

  it('count what grew as changed, whether mapped the same or not', () => {
    // A device that shrank, and was made longer again, still maps what it had there before.
    const changes = changesOf([1, 2, 3], [1, 2, 3], 6, 12);
    expect([...changes.dataExtents()]).toEqual([{ offset: 6, length: 6 }]);
    expect(changes.trackedBytes).toBe(0);
    const empty = changesOf([1, 2], [1, 2], 8, 40);
    expect([...empty.discardedExtents()]).toEqual([{ offset: 8, length: 32 }]);
  });
});
