import type { Extent } from '../extent.js';

/** Extents are printed in pieces of this many: a set of millions must not become one string. */
const EXTENTS_PER_PIECE = 4096;

/** Extents as a JSON array of pairs, in pieces. */
export function* extentsJson(extents: Iterable<Extent>): Generator<string> {
  yield '[';
  let separator = '';
  for (const texts of batch(extents, ({ offset, length }) => `[${offset},${length}]`)) {
    yield separator + texts.join(',');
    separator = ',';
  }
  yield ']';
}

/** Extents for people and scripts: one a line, offset and length in bytes. */
export function* extentLines(extents: Iterable<Extent>): Generator<string> {
  for (const texts of batch(extents, ({ offset, length }) => `${offset} ${length}\n`)) yield texts.join('');
}

function* batch(extents: Iterable<Extent>, write: (extent: Extent) => string): Generator<string[]> {
  let texts: string[] = [];
  for (const extent of extents) {
    texts.push(write(extent));
    if (texts.length < EXTENTS_PER_PIECE) continue;
    yield texts;
    texts = [];
  }
  if (texts.length > 0) yield texts;
}
