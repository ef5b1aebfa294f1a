/** What sizes of devices, tables and offsets are counted in. Bytes. */
export const SECTOR = 512;

/** A range of bytes of a volume. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** One past the extent's last byte. */
export function endOf(extent: Extent): number {
  return extent.offset + extent.length;
}

/** The part of `extent` below `size` bytes, or null if there is no such part. */
export function clipExtent(extent: Extent, size: number): Extent | null {
  if (extent.offset >= size) return null;
  return { offset: extent.offset, length: Math.min(extent.length, size - extent.offset) };
}

/** Joins neighbours of an ascending sequence: extents that touch or overlap become one. */
export function* coalesceExtents(ascending: Iterable<Extent>): Generator<Extent> {
  let open: Extent | null = null;
  for (const next of ascending) {
    if (open !== null && next.offset <= endOf(open)) {
      open = { offset: open.offset, length: Math.max(endOf(open), endOf(next)) - open.offset };
    } else {
      if (open !== null) yield open;
      open = next;
    }
  }
  if (open !== null) yield open;
}

/**
 * Cuts extents into pieces of at most `limit` bytes. Pieces end at multiples of `limit` from the start of the volume.
 */
export function* splitExtents(extents: Iterable<Extent>, limit: number): Generator<Extent> {
  for (const extent of extents) {
    let offset = extent.offset;
    while (offset < endOf(extent)) {
      const boundary = offset - (offset % limit) + limit;
      const length = Math.min(boundary, endOf(extent)) - offset;
      yield { offset, length };
      offset += length;
    }
  }
}

/** Bytes of all the extents. */
export function sumLengths(extents: Iterable<Extent>): number {
  let sum = 0;
  for (const extent of extents) sum += extent.length;
  return sum;
}

/** The intersection of two ascending sequences without overlaps: ascending. */
export function* intersectExtents(left: Iterable<Extent>, right: Iterable<Extent>): Generator<Extent> {
  const [lefts, rights] = [left[Symbol.iterator](), right[Symbol.iterator]()];
  let [a, b] = [lefts.next(), rights.next()];
  while (a.done !== true && b.done !== true) {
    const offset = Math.max(a.value.offset, b.value.offset);
    const end = Math.min(endOf(a.value), endOf(b.value));
    if (offset < end) yield { offset, length: end - offset };
    if (endOf(a.value) === end) a = lefts.next();
    else b = rights.next();
  }
}

/** What is in the first of two ascending sequences without overlaps, but not in the second: ascending. */
export function* subtractExtents(from: Iterable<Extent>, what: Iterable<Extent>): Generator<Extent> {
  const removals = what[Symbol.iterator]();
  let removal = removals.next();
  for (const extent of from) {
    let offset = extent.offset;
    while (removal.done !== true && endOf(removal.value) <= offset) removal = removals.next();
    while (removal.done !== true && removal.value.offset < endOf(extent)) {
      if (removal.value.offset > offset) yield { offset, length: removal.value.offset - offset };
      offset = Math.min(endOf(removal.value), endOf(extent));
      if (endOf(removal.value) > endOf(extent)) break;
      removal = removals.next();
    }
    if (offset < endOf(extent)) yield { offset, length: endOf(extent) - offset };
  }
}

/** The union of two ascending sequences: ascending, coalesced. */
export function* uniteExtents(left: Iterable<Extent>, right: Iterable<Extent>): Generator<Extent> {
  yield* coalesceExtents(mergeByOffset(left, right));
}

function* mergeByOffset(left: Iterable<Extent>, right: Iterable<Extent>): Generator<Extent> {
  const [lefts, rights] = [left[Symbol.iterator](), right[Symbol.iterator]()];
  let [a, b] = [lefts.next(), rights.next()];
  for (;;) {
    if (a.done !== true && (b.done === true || a.value.offset <= b.value.offset)) {
      yield a.value;
      a = lefts.next();
    } else if (b.done !== true) {
      yield b.value;
      b = rights.next();
    } else return;
  }
}
