import { endOf, type Extent, SECTOR } from '../bytes/extent.js';
import { StoreLayout } from '../changes/cow-format.js';
import { UsageError } from '../errors.js';

/** What LVM takes at least; no device's sectors are larger. Bytes. */
const SMALLEST_CHUNK = 4096;
/** Past this, a small write to the view costs too much of the store. Bytes. */
const LARGEST_CHUNK = 64 * 1024;
/** Filling may take one part in so many of what the archives hold. */
const FILL_SHARE = 8;

/** An exception store that shall hold some extents' bytes. Sizes in bytes. */
export interface StorePlan {
  readonly layout: StoreLayout;
  /** The volume's. */
  readonly volumeSize: number;
  /** How many chunks are touched. */
  readonly exceptions: number;
  /** How much of the touched chunks lies in none of the extents, and is the target's. */
  readonly fillBytes: number;
  /** What the store takes at least. */
  readonly usedBytes: number;
}

/**
 * Plans a store for ascending extents without overlaps: with the largest chunks that need little filling, as the
 * kernel copies and merges by chunk; where nothing can be filled, the largest that need none.
 *
 * @param canFill whether the rest of a chunk that is touched in part can be read from the target
 *
 * Throws UsageError where it cannot be filled and even the smallest chunks would need it.
 */
export function planStore(extents: Iterable<Extent>, volumeSize: number, canFill: boolean): StorePlan {
  const sizes: ChunkCount[] = [];
  for (let size = SMALLEST_CHUNK; size <= LARGEST_CHUNK; size *= 2) sizes.push(new ChunkCount(size));
  let bytes = 0;
  for (const extent of extents) {
    bytes += extent.length;
    for (const each of sizes) each.add(extent);
  }
  const most = canFill ? bytes / FILL_SHARE : 0;
  const fit = sizes.filter((each) => each.bytesWithin(volumeSize) - bytes <= most).at(-1);
  const chosen = fit ?? (canFill ? sizes[0] : undefined);
  if (chosen === undefined) {
    throw new UsageError(
      `the archives hold parts of chunks of ${SMALLEST_CHUNK} bytes: name the volume that has the rest of them (--target)`,
    );
  }
  const layout = new StoreLayout(chosen.chunkSize / SECTOR);
  return {
    layout,
    volumeSize,
    exceptions: chosen.chunks,
    fillBytes: chosen.bytesWithin(volumeSize) - bytes,
    usedBytes: layout.bytesUsed(chosen.chunks),
  };
}

/** How large a store is in which every chunk of the volume has room: it never fills up. Bytes. */
export function sizeForAll({ layout, volumeSize }: StorePlan): number {
  return layout.bytesUsed(Math.ceil(volumeSize / layout.chunkSize));
}

/** Counts the chunks that ascending extents touch. */
class ChunkCount {
  chunks = 0;
  private last = -1;

  constructor(readonly chunkSize: number) {}

  add(extent: Extent): void {
    const first = Math.floor(extent.offset / this.chunkSize);
    const last = Math.ceil(endOf(extent) / this.chunkSize) - 1;
    this.chunks += last - Math.max(first, this.last + 1) + 1;
    this.last = last;
  }

  /** What the chunks have below the volume's end. */
  bytesWithin(volumeSize: number): number {
    const overhang = Math.max(0, (this.last + 1) * this.chunkSize - volumeSize);
    return this.chunks * this.chunkSize - overhang;
  }
}
