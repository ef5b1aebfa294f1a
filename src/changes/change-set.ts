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
   * @param trackedSize how far it tracks: the volume's size when the snapshot was made, or null when unknown
   * @param volumeSize the volume's size now, or null when unknown; what lies past `trackedSize` counts as changed
   * @param unmapped chunks without any data behind them: of what changed, those read as zeroes
   */
  constructor(
    readonly granularity: number,
    readonly trackedSize: number | null,
    readonly volumeSize: number | null,
    readonly chunks: ChunkSet,
    private readonly unmapped = new ChunkSet(),
  ) {}

  /** What the change source names, clipped at the end of what it tracks. */
  *trackedExtents(): Generator<Extent> {
    for (const extent of this.inBytes(this.chunks)) {
      const clipped = this.trackedSize === null ? extent : clipExtent(extent, this.trackedSize);
      if (clipped !== null) yield clipped;
    }
  }

  /** Everything that must be sent, ascending: what is tracked, coalesced, then the tail that never was. */
  *extents(): Generator<Extent> {
    yield* this.trackedExtents();
    if (this.tailLength > 0) yield { offset: this.trackedSize ?? 0, length: this.tailLength };
  }

  /** Of `extents()`, what has data behind it: only that need be read. */
  dataExtents(): Generator<Extent> {
    return subtractExtents(this.extents(), this.inBytes(this.unmapped));
  }

  /** Of `trackedExtents()`, what has data behind it. */
  trackedDataExtents(): Generator<Extent> {
    return subtractExtents(this.trackedExtents(), this.inBytes(this.unmapped));
  }

  /** Of `extents()`, what was discarded, or never written: it reads as zeroes. */
  discardedExtents(): Generator<Extent> {
    return intersectExtents(this.extents(), this.inBytes(this.unmapped));
  }

  /** Bytes that the change source names. */
  get trackedBytes(): number {
    return sumLengths(this.trackedExtents());
  }

  /** Bytes of `extents()`. */
  get changedBytes(): number {
    return this.trackedBytes + this.tailLength;
  }

  /** What this set has and an earlier one of the same source had not. */
  since(earlier: ChangeSet): ChangeSet {
    // The tail past what is tracked went out with the earlier set.
    return new ChangeSet(
      this.granularity,
      this.trackedSize,
      this.trackedSize,
      this.chunks.without(earlier.chunks),
      this.unmapped,
    );
  }

  /** Tracked chunks that this set lacks and that have bytes of the given extents. */
  lacking(extents: Iterable<Extent>): ChunkSet {
    const touched = new ChunkSet();
    const end = Math.ceil((this.trackedSize ?? Infinity) / this.granularity);
    for (const extent of extents) {
      const to = Math.ceil(endOf(extent) / this.granularity);
      touched.addRange(Math.floor(extent.offset / this.granularity), Math.min(to, end));
    }
    return touched.without(this.chunks);
  }

  /** This set, with more chunks: of its own size, within what it tracks. */
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
