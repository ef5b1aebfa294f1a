import { ChunkSet } from '../bytes/chunk-set.js';
import {
  clipExtent,
  endOf,
  intersectExtents,
  subtractExtents,
  sumLengths,
  type Extent,
} from '../bytes/extent.js';

/** What a change source tracks of a volume. Bytes. */
export interface Tracking {
  /** The unit in which it tracks: the snapshot's chunk. */
  readonly granularity: number;
  /** How far it tracks: the volume's size when the snapshot was made, or null if unknown. */
  readonly trackedSize: number | null;
  /** The volume's size now, or null if unknown; everything past `trackedSize` counts as changed. */
  readonly volumeSize: number | null;
}

/** Which bytes of a volume changed since a base state. Sizes in bytes. */
export class ChangeSet implements Tracking {
  readonly granularity: number;
  readonly trackedSize: number | null;
  readonly volumeSize: number | null;

  /** @param unmapped chunks without data; if they changed, they read as zeroes */
  constructor(
    { granularity, trackedSize, volumeSize }: Tracking,
    readonly chunks: ChunkSet,
    private readonly unmapped = new ChunkSet(),
  ) {
    this.granularity = granularity;
    this.trackedSize = trackedSize;
    this.volumeSize = volumeSize;
  }

  /** The extents that the change source lists, clipped at the end of what it tracks. */
  *trackedExtents(): Generator<Extent> {
    for (const extent of this.inBytes(this.chunks)) {
      const clipped = this.trackedSize === null ? extent : clipExtent(extent, this.trackedSize);
      if (clipped !== null) yield clipped;
    }
  }

  /** Everything that must be sent, ascending: the tracked extents, coalesced, then the tail that was never tracked. */
  *extents(): Generator<Extent> {
    yield* this.trackedExtents();
    if (this.tailLength > 0) yield { offset: this.trackedSize ?? 0, length: this.tailLength };
  }

  /** The part of `extents()` that has data: only this part has to be read. */
  dataExtents(): Generator<Extent> {
    return subtractExtents(this.extents(), this.inBytes(this.unmapped));
  }

  /** The part of `trackedExtents()` that has data. */
  trackedDataExtents(): Generator<Extent> {
    return subtractExtents(this.trackedExtents(), this.inBytes(this.unmapped));
  }

  /** The part of `extents()` that was discarded, or never written: it reads as zeroes. */
  discardedExtents(): Generator<Extent> {
    return intersectExtents(this.extents(), this.inBytes(this.unmapped));
  }

  /** Bytes that the change source lists. */
  get trackedBytes(): number {
    return sumLengths(this.trackedExtents());
  }

  /** Bytes of `extents()`. */
  get changedBytes(): number {
    return this.trackedBytes + this.tailLength;
  }

  /** What this set has and an earlier set of the same source did not have. */
  since(earlier: ChangeSet): ChangeSet {
    const { granularity, trackedSize } = this;
    // The tail past the tracked part was sent with the earlier set.
    const tracking = { granularity, trackedSize, volumeSize: trackedSize };
    return new ChangeSet(tracking, this.chunks.without(earlier.chunks), this.unmapped);
  }

  /** Tracked chunks that are not in this set and that overlap the given extents. */
  lacking(extents: Iterable<Extent>): ChunkSet {
    const touched = new ChunkSet();
    const end = Math.ceil((this.trackedSize ?? Infinity) / this.granularity);
    for (const extent of extents) {
      const to = Math.ceil(endOf(extent) / this.granularity);
      touched.addRange(Math.floor(extent.offset / this.granularity), Math.min(to, end));
    }
    return touched.without(this.chunks);
  }

  /** This set plus more chunks, of the same size and within what it tracks. */
  including(more: ChunkSet): ChangeSet {
    return new ChangeSet(this, this.chunks.with(more), this.unmapped);
  }

  private *inBytes(chunks: ChunkSet): Generator<Extent> {
    for (const { offset, length } of chunks.runs()) {
      yield { offset: offset * this.granularity, length: length * this.granularity };
    }
  }

  private get tailLength(): number {
    if (this.trackedSize === null || this.volumeSize === null) return 0;
    return Math.max(0, this.volumeSize - this.trackedSize);
  }
}
