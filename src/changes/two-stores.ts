import type { ChunkSet } from '../bytes/chunk-set.js';
import type { ChangeSet } from './change-set.js';

/**
 * The changes between two snapshots of one volume. A chunk that neither store has is the same as in the volume itself,
 * in both snapshots, so every difference is in one of the two stores. Usually it is in the first store, because writes
 * to the volume reach both. Only the second store has what was written between the two snapshots, if the second is the
 * older one, or what was written to the second snapshot itself.
 */
export class TwoStores {
  /** The chunks missing from the first store, in its chunk size; null until both stores were read. */
  private more: ChunkSet | null = null;

  /**
   * @param readFirst returns the changes in the first store, or the first `most` of them
   * @param judgeMore called if the second store has chunks that the first does not have, for example because its
   * chunks are larger
   */
  constructor(
    private readonly readFirst: (most?: number) => Promise<ChangeSet>,
    private readonly readSecond: () => Promise<ChangeSet>,
    private readonly judgeMore: () => Promise<void>,
  ) {}

  /** Whether the second store has chunks that the first does not have; known once both were read. */
  get namesMore(): boolean {
    return (this.more?.count ?? 0) > 0;
  }

  /**
   * As in a change source, in the first store's chunks. The second store is read only once: later writes to the volume
   * are the same in both snapshots. Throws what reading the two throws.
   */
  async readChanges(most?: number): Promise<ChangeSet> {
    if (this.more !== null) {
      const first = await this.readFirst(most === undefined ? most : Math.max(0, most - this.more.count));
      return first.including(this.more);
    }
    // Read before the first: otherwise a write to the volume in between would appear to be in the second store only.
    const second = await this.readSecond();
    const first = await this.readFirst(most);
    this.more = first.lacking(second.trackedExtents());
    if (this.more.count > 0) await this.judgeMore();
    return first.including(this.more);
  }
}
