import type { ChunkSet } from '../bytes/chunk-set.js';
import type { ChangeSet } from './change-set.js';

/**
 * The changes that lie between two snapshots of one volume. A chunk that neither store has is the volume's own in both
 * of them, so all that differs is in one of the two: in the first one's alone, as a rule, as what is written to the
 * volume lands in both. But what was written between the two, where the second is the older one, or to the second
 * itself, only the second's store has.
 */
export class TwoStores {
  /** What the first lacks, in its chunks; null until both were read. */
  private more: ChunkSet | null = null;

  /**
   * @param readFirst the changes that the first store has, or the `most` first ones of them
   * @param judgeMore called where the second has what the first lacks, as where its chunks are just the larger ones
   */
  constructor(
    private readonly readFirst: (most?: number) => Promise<ChangeSet>,
    private readonly readSecond: () => Promise<ChangeSet>,
    private readonly judgeMore: () => Promise<void>,
  ) {}

  /** Whether the second named what the first lacks: known once they were read. */
  get namesMore(): boolean {
    return (this.more?.count ?? 0) > 0;
  }

  /**
   * As a change source's, in the first store's chunks. The second is read once: what is written to the volume later is
   * the same in both snapshots. Throws what reading the two throws.
   */
  async readChanges(most?: number): Promise<ChangeSet> {
    if (this.more !== null) {
      const first = await this.readFirst(most === undefined ? most : Math.max(0, most - this.more.count));
      return first.including(this.more);
    }
    // Before the first: what is written to the volume in between would look as if only the second had it.
    const second = await this.readSecond();
    const first = await this.readFirst(most);
    this.more = first.lacking(second.trackedExtents());
    if (this.more.count > 0) await this.judgeMore();
    return first.including(this.more);
  }
}
