import { ChunkSet } from '../bytes/chunk-set.js';
import {
  clipExtent,
  endOf,
  intersectExtents,
  subtractExtents,
  sumLengths,
  type Extent,
} from '../bytes/extent.js';

/** Which bytes of a volume changed since a base state. Sizes in bytes. */
export class ChangeSet {
  /**
   * @param granularity the unit in which the change source tracks: the snapshot's chunk
   * @param trackedSize how far it tracks: the volume's size when the snapshot was made, or null if unknown
   * @param volumeSize the volume's size now, or null if unknown; everything past `trackedSize` counts as changed
   * @param unmapped chunks without data; if they changed, they read as zeroes
   */
  constructor(
    readonly granularity: number,
    readonly trackedSize: number | null,
    readonly volumeSize: number | null,
    readonly chunks: ChunkSet,
    private readonly unmapped = new ChunkSet(),
  ) {}

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
    // The tail past the tracked part was sent with the earlier set.
    return new ChangeSet(
      this.granularity,
      this.trackedSize,
      this.trackedSize,
      this.chunks.without(earlier.chunks),
      this.unmapped,
    );
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
    const { granularity, trackedSize, volumeSize } = this;
    return new ChangeSet(granularity, trackedSize, volumeSize, this.chunks.with(more), this.unmapped);
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
