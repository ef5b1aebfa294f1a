import type { Extent } from '../bytes/extent.js';

const FIRST_CAPACITY = 256;

/** An extent, and the block of an archive that has its bytes: all of that block, or part of it. Bytes. */
export interface StoredExtent extends Extent {
  /** Where the block's frame (in PROTO[3]: its data) starts in the archive's file. */
  readonly position: number;
  /** Where the block starts in the volume: at `offset`, or before it. */
  readonly blockOffset: number;
  /** The index of its archive in the list that was given. */
  readonly source: number;
}

/** Extents of archives in typed arrays: 36 bytes each, whatever the size of their data. */
export class ExtentTable {
  count = 0;
  private offsets = new Float64Array(FIRST_CAPACITY);
  private lengths = new Float64Array(FIRST_CAPACITY);
  private positions = new Float64Array(FIRST_CAPACITY);
  private blockOffsets = new Float64Array(FIRST_CAPACITY);
  private sources = new Uint32Array(FIRST_CAPACITY);

  add({ offset, length, position, blockOffset, source }: StoredExtent): void {
    const { count } = this;
    if (count === this.offsets.length) this.grow();
    this.offsets[count] = offset;
    this.lengths[count] = length;
    this.positions[count] = position;
    this.blockOffsets[count] = blockOffset;
    this.sources[count] = source;
    this.count = count + 1;
  }

  /** Infinity behind the last extent. */
  offsetAt(index: number): number {
    return index < this.count ? (this.offsets[index] ?? Infinity) : Infinity;
  }

  endAt(index: number): number {
    return this.offsetAt(index) + (this.lengths[index] ?? 0);
  }

  at(index: number): StoredExtent {
    return {
      offset: this.offsets[index] ?? 0,
      length: this.lengths[index] ?? 0,
      position: this.positions[index] ?? 0,
      blockOffset: this.blockOffsets[index] ?? 0,
      source: this.sources[index] ?? 0,
    };
  }

  *[Symbol.iterator](): Generator<StoredExtent> {
    for (let index = 0; index < this.count; index++) yield this.at(index);
  }

  /** Bytes of all the extents. */
  get bytes(): number {
    let sum = 0;
    for (let index = 0; index < this.count; index++) sum += this.lengths[index] ?? 0;
    return sum;
  }

  private grow(): void {
    const capacity = this.offsets.length * 2;
    this.offsets = larger(this.offsets, new Float64Array(capacity));
    this.lengths = larger(this.lengths, new Float64Array(capacity));
    this.positions = larger(this.positions, new Float64Array(capacity));
    this.blockOffsets = larger(this.blockOffsets, new Float64Array(capacity));
    this.sources = larger(this.sources, new Uint32Array(capacity));
  }
}

function larger<Numbers extends Float64Array | Uint32Array>(old: Numbers, wanted: Numbers): Numbers {
  wanted.set(old);
  return wanted;
}
