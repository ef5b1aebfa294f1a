import { ChunkSet } from '../bytes/chunk-set.js';
import { ChangeSet } from './change-set.js';
import type { ThinRangeKind } from './thin-delta.js';

/** Two thin devices of a pool whose difference is read: sizes in bytes. */
export interface ThinSizes {
  readonly chunkSize: number;
  /** The size of the device that the changes start from, and of the one that they lead to. */
  readonly oldSize: number;
  readonly newSize: number;
  /** Whether chunks that the new device does not map show the bytes of an external origin, and not zeroes. */
  readonly hasExternalOrigin: boolean;
}

/**
 * Gathers the ranges of a delta into a change set. A device that grew counts as changed from its old end on, whatever
 * the delta says there: the target never had those bytes.
 */
export class ThinChanges {
  private readonly changed = new ChunkSet();
  private readonly unmapped = new ChunkSet();
  /** Chunks that begin below are tracked; those that end above may lie in what grew. */
  private readonly trackedChunks: number;
  private readonly grownFrom: number;
  private readonly newChunks: number;
  /** Up to here it is known what the new device maps of what grew. In chunks. */
  private cursor: number;

  constructor(private readonly sizes: ThinSizes) {
    const { chunkSize, newSize } = sizes;
    this.trackedChunks = Math.ceil(this.trackedSize / chunkSize);
    this.grownFrom = Math.floor(this.trackedSize / chunkSize);
    this.newChunks = Math.ceil(newSize / chunkSize);
    this.cursor = this.grownFrom;
  }

  /** Takes the next range: of a whole delta, in its order. */
  readonly take = (kind: ThinRangeKind, begin: number, length: number): void => {
    const end = begin + length;
    if (kind !== 'same') this.changed.addRange(begin, Math.min(end, this.trackedChunks));
    if (kind === 'left_only') this.unmapped.addRange(begin, Math.min(end, this.newChunks));
    else this.takeMapped(begin, end);
  };

  /** What changed, once every range was taken. */
  finish(): ChangeSet {
    const { chunkSize, newSize, hasExternalOrigin } = this.sizes;
    this.takeMapped(this.newChunks, this.newChunks);
    const unmapped = hasExternalOrigin ? new ChunkSet() : this.unmapped;
    return new ChangeSet(chunkSize, this.trackedSize, newSize, this.changed, unmapped);
  }

  private get trackedSize(): number {
    return Math.min(this.sizes.oldSize, this.sizes.newSize);
  }

  /** What lies between two mapped ranges is not mapped. */
  private takeMapped(begin: number, end: number): void {
    if (end < this.cursor) return;
    this.unmapped.addRange(this.cursor, Math.min(begin, this.newChunks));
    this.cursor = Math.max(this.cursor, end);
  }
}
