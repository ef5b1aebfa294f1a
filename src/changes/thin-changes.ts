import { ChunkSet } from '../bytes/chunk-set.js';
import { ChangeSet } from './change-set.js';
import type { ThinRangeKind } from './thin-delta.js';

/** The sizes of two thin devices of a pool that are compared, in bytes. */
export interface ThinSizes {
  readonly chunkSize: number;
  /** The sizes of the devices that the changes start from and lead to. */
  readonly oldSize: number;
  readonly newSize: number;
  /** Whether chunks that the new device does not map show the bytes of an external origin instead of zeroes. */
  readonly hasExternalOrigin: boolean;
}

/**
 * Collects the ranges of a delta in a change set. If the device grew, everything past its old end counts as changed,
 * whatever the delta says there: the target never had those bytes.
 */
export class ThinChanges {
  private readonly changed = new ChunkSet();
  private readonly unmapped = new ChunkSet();
  /** Chunks that begin below this are tracked; chunks that end above it may be in the grown part. */
  private readonly trackedChunks: number;
  private readonly grownFrom: number;
  private readonly newChunks: number;
  /** Up to here it is known which chunks of the grown part the new device maps. In chunks. */
  private cursor: number;

  constructor(private readonly sizes: ThinSizes) {
    const { chunkSize, newSize } = sizes;
    this.trackedChunks = Math.ceil(this.trackedSize / chunkSize);
    this.grownFrom = Math.floor(this.trackedSize / chunkSize);
    this.newChunks = Math.ceil(newSize / chunkSize);
    this.cursor = this.grownFrom;
  }

  /** Adds the next range; call it for every range of a delta, in order. */
  readonly take = (kind: ThinRangeKind, begin: number, length: number): void => {
    const end = begin + length;
    if (kind !== 'same') this.changed.addRange(begin, Math.min(end, this.trackedChunks));
    if (kind === 'left_only') this.unmapped.addRange(begin, Math.min(end, this.newChunks));
    else this.takeMapped(begin, end);
  };

  /** The changes, after every range was added. */
  finish(): ChangeSet {
    const { chunkSize, newSize, hasExternalOrigin } = this.sizes;
    this.takeMapped(this.newChunks, this.newChunks);
    const unmapped = hasExternalOrigin ? new ChunkSet() : this.unmapped;
    const tracking = { granularity: chunkSize, trackedSize: this.trackedSize, volumeSize: newSize };
    return new ChangeSet(tracking, this.changed, unmapped);
  }

  private get trackedSize(): number {
    return Math.min(this.sizes.oldSize, this.sizes.newSize);
  }

  /** The chunks between two mapped ranges are not mapped. */
  private takeMapped(begin: number, end: number): void {
    if (end < this.cursor) return;
    this.unmapped.addRange(this.cursor, Math.min(begin, this.newChunks));
    this.cursor = Math.max(this.cursor, end);
  }
}
