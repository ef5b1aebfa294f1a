import type { Extent } from '../extent.js';
import { endOf } from '../extent.js';

/** From untouched to changed throughout. */
const SHADES = ['·', '░', '▒', '▓', '█'] as const;

/**
 * Draws where in a volume changes lie: `columns` × `rows` cells, each shaded by the share of it that changed. A
 * cell with any change at all never looks untouched. Sizes in bytes; extents ascend.
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
