import { type Extent, endOf } from '../../bytes/extent.js';

/** From unchanged to entirely changed. */
const SHADES = ['·', '░', '▒', '▓', '█'] as const;

/**
 * Draws where in a volume the changes are: `columns` × `rows` cells, each shaded by the share of it that changed. A
 * cell with any change at all never looks unchanged. Sizes are in bytes; extents ascend.
 */
export function drawChangeMap(
  extents: Iterable<Extent>,
  volumeSize: number,
  columns: number,
  rows: number,
): string[] {
  const cells = columns * rows;
  const cellSize = volumeSize / cells;
  const changed = new Float64Array(cells);
  for (const extent of extents) spread(extent, cellSize, changed);
  const shades = Array.from(changed, (bytes) => shadeOf(bytes / cellSize));
  return Array.from({ length: rows }, (_, row) => shades.slice(row * columns, (row + 1) * columns).join(''));
}

function spread(extent: Extent, cellSize: number, changed: Float64Array): void {
  const last = Math.min(Math.ceil(endOf(extent) / cellSize), changed.length);
  for (let cell = Math.floor(extent.offset / cellSize); cell < last; cell++) {
    const from = Math.max(extent.offset, cell * cellSize);
    const to = Math.min(endOf(extent), (cell + 1) * cellSize);
    changed[cell] = (changed[cell] ?? 0) + Math.max(0, to - from);
  }
}

function shadeOf(share: number): string {
  const level = share === 0 ? 0 : Math.min(SHADES.length - 1, 1 + Math.floor(share * (SHADES.length - 1)));
  return SHADES[level] ?? SHADES[0];
}

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

/** Extents for people and scripts: one per line, offset and length in bytes. */
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
