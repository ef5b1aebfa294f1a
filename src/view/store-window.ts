import { endOf, type Extent } from '../bytes/extent.js';
import type { StoreLayout } from '../changes/cow-format.js';

/** How much of the store is made and written in one piece. Bytes. */
const WINDOW_BYTES = 1024 * 1024;

/** A range of the volume, and where it is in a window: `at` bytes from its start. */
export interface WindowGap extends Extent {
  readonly at: number;
}

/** Chunks that follow each other in the store, wherever they are in the volume. */
export class StoreWindow {
  /** Their numbers in the volume, ascending. */
  readonly oldChunks: number[] = [];
  /** How many bytes of each the extents cover. */
  private readonly covered: number[] = [];

  /** @param storeOffset where in the store they begin, in bytes */
  constructor(
    readonly storeOffset: number,
    readonly chunkSize: number,
  ) {}

  get count(): number {
    return this.oldChunks.length;
  }

  /** How many bytes of all chunks the extents cover. */
  get coveredBytes(): number {
    return this.covered.reduce((sum, each) => sum + each, 0);
  }

  /** The end of the last chunk in the volume. */
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

  /** The chunks that the extents cover in part, with neighbours joined; includes the parts that are covered. */
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
      // In the volume's last chunk, covered up to the volume's end, only zeroes are left; they are filled too.
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

/** Cuts ascending extents into windows of at most 1 MiB each; a window does not cross two areas of the store. */
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

/**
 * The chunk of the store for exception number `index` (0, 1, …). Before each area's chunks comes its table, and before
 * the first table the header.
 */
function newChunkOf(index: number, areaEntries: number): number {
  return index + Math.floor(index / areaEntries) + 2;
}
