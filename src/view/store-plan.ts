import { endOf, type Extent, SECTOR } from '../bytes/extent.js';
import { StoreLayout } from '../changes/cow-format.js';
import { UsageError } from '../errors.js';

/** The smallest chunk that LVM accepts; no device has larger sectors. Bytes. */
const SMALLEST_CHUNK = 4096;
/** With larger chunks, a small write to the view costs too much of the store. Bytes. */
const LARGEST_CHUNK = 64 * 1024;
/** Filling may add one part in this many of what the archives hold. */
const FILL_SHARE = 8;

/** An exception store for the bytes of some extents. Sizes in bytes. */
export interface StorePlan {
  readonly layout: StoreLayout;
  /** The size of the volume. */
  readonly volumeSize: number;
  /** How many chunks are touched. */
  readonly exceptions: number;
  /** How much of the touched chunks is outside the extents, and comes from the target. */
  readonly fillBytes: number;
  /** The minimum size of the store. */
  readonly usedBytes: number;
}

/**
 * Plans a store for ascending extents without overlaps: with the largest chunks that need little filling, because the
 * kernel copies and merges by chunk; if nothing can be filled, the largest that need no filling.
 *
 * @param canFill whether the rest of a partly touched chunk can be read from the target
 *
 * Throws UsageError if nothing can be filled and even the smallest chunks would need it.
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
      `the archives hold only parts of some chunks of ${SMALLEST_CHUNK} bytes: give the volume that has the rest of them (--target)`,
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

/** The size of a store with room for every chunk of the volume: it never fills up. Bytes. */
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

  /** The bytes of the chunks below the volume's end. */
  bytesWithin(volumeSize: number): number {
    const overhang = Math.max(0, (this.last + 1) * this.chunkSize - volumeSize);
    return this.chunks * this.chunkSize - overhang;
  }
}
