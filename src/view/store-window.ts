import { endOf, type Extent } from '../bytes/extent.js';
import type { StoreLayout } from '../changes/cow-format.js';

/** How much of the store is made and written in one piece. Bytes. */
const WINDOW_BYTES = 1024 * 1024;

/** A range of the volume whose bytes lie `at` bytes into a window. */
export interface WindowGap extends Extent {
  readonly at: number;
}

/** Chunks that lie one behind the other in the store, wherever they lie in the volume. */
export class StoreWindow {
  /** Their numbers in the volume, ascending. */
  readonly oldChunks: number[] = [];
  /** How much of each the extents cover. */
  private readonly covered: number[] = [];

  /** @param storeOffset where in the store they begin, in bytes */
  constructor(
    readonly storeOffset: number,
    readonly chunkSize: number,
  ) {}

  get count(): number {
    return this.oldChunks.length;
  }

  /** What the extents cover of all of them. Bytes. */
  get coveredBytes(): number {
    return this.covered.reduce((sum, each) => sum + each, 0);
  }

  /** Where the last one ends in the volume. */
  get end(): number {
    return ((this.oldChunks.at(-1) ?? -1) + 1) * this.chunkSize;
  }

  cover(oldChunk: number, bytes: number): void {
    if (this.oldChunks.at(-1) !== oldChunk) {
      this.oldChunks.push(oldChunk);
      this.covered.push(0);
    }
    const last = this.covered.length - 1;
    this.covered[last] = (this.covered[last] ?? 0) + bytes;
  }

  /** The chunks that the extents cover in part, neighbours in one; what is covered of them as well. */
  *gaps(volumeSize: number): Generator<WindowGap> {
    let open: { offset: number; length: number; at: number } | null = null;
    for (const [slot, oldChunk] of this.oldChunks.entries()) {
      const offset = oldChunk * this.chunkSize;
      const isWhole = this.covered[slot] === this.chunkSize;
      const isNext = open !== null && open.offset + open.length === offset;
      if (open !== null && (isWhole || !isNext)) {
        yield open;
        open = null;
      }
      if (isWhole) continue;
      // The volume's last chunk, covered up to its end, has only zeroes left; they are filled all the same.
      if (offset + this.chunkSize > volumeSize && offset + (this.covered[slot] ?? 0) === volumeSize) {
        if (open !== null) yield open;
        open = null;
        yield {
          offset: volumeSize,
          length: offset + this.chunkSize - volumeSize,
          at: slot * this.chunkSize + volumeSize - offset,
        };
        continue;
      }
      open ??= { offset, length: 0, at: slot * this.chunkSize };
      open.length += this.chunkSize;
    }
    if (open !== null) yield open;
  }
}

/** Cuts ascending extents into windows: each of at most 1 MiB, none across two areas of the store. */
export function* cutWindows(extents: Iterable<Extent>, layout: StoreLayout): Generator<StoreWindow> {
  const { chunkSize, areaEntries } = layout;
  const most = Math.min(areaEntries, WINDOW_BYTES / chunkSize);
  let exceptions = 0;
  let window: StoreWindow | null = null;
  for (const extent of extents) {
    let offset = extent.offset;
    while (offset < endOf(extent)) {
      const chunk = Math.floor(offset / chunkSize);
      const end = Math.min(endOf(extent), (chunk + 1) * chunkSize);
      const isNew = window?.oldChunks.at(-1) !== chunk;
      if (window !== null && isNew && (window.count === most || exceptions % areaEntries === 0)) {
        yield window;
        window = null;
      }
      window ??= new StoreWindow(newChunkOf(exceptions, areaEntries) * chunkSize, chunkSize);
      window.cover(chunk, end - offset);
      if (isNew) exceptions += 1;
      offset = end;
    }
  }
  if (window !== null) yield window;
}

/** Where the store keeps its exception number `index` (0, 1, …), as a chunk: two behind each table's place. */
function newChunkOf(index: number, areaEntries: number): number {
  return index + Math.floor(index / areaEntries) + 2;
}
