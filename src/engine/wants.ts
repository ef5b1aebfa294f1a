import { ChunkSet } from '../bytes/chunk-set.js';
import { endOf, type Extent, SECTOR } from '../bytes/extent.js';

/**
 * What a receiver wants of its sender: the extents of which parts alone came, and were of no use. Until all of each
 * has come whole, the target is not right.
 */
export class Wants {
  private readonly wanted = new ChunkSet();
  private readonly came = new ChunkSet();

  /**
   * @param volumeSize bytes, where the last unit may be cut
   * @param tell tells the sender
   * @param unit what is remembered one by one: bytes; extents that are no multiples of it count as wanted to its bounds
   */
  constructor(
    private readonly volumeSize: number,
    private readonly tell: (extent: Extent) => Promise<void>,
    private readonly unit = SECTOR,
  ) {}

  /** Whether anything was ever wanted. */
  get hasAny(): boolean {
    return this.wanted.count > 0;
  }

  /** How much was wanted, in whole units. */
  get bytes(): number {
    return this.wanted.count * this.unit;
  }

  async ask({ offset, length }: Extent): Promise<void> {
    const { unit } = this;
    this.wanted.addRange(Math.floor(offset / unit), Math.ceil((offset + length) / unit));
    await this.tell({ offset, length });
  }

  /** Takes note of a block that is right whatever the target held: its bytes need not be wanted any more. */
  take(block: Extent): void {
    if (!this.hasAny) return;
    const { unit, volumeSize } = this;
    const end = endOf(block) === volumeSize ? Math.ceil(volumeSize / unit) : Math.floor(endOf(block) / unit);
    for (let index = Math.ceil(block.offset / unit); index < end; index++) {
      if (this.wanted.has(index)) this.came.add(index);
    }
  }

  /** The first bytes that were wanted and have not come, or null. */
  findMissing(): Extent | null {
    if (this.came.count === this.wanted.count) return null;
    for (const { offset, length } of this.wanted.without(this.came).runs()) {
      return { offset: offset * this.unit, length: length * this.unit };
    }
    return null;
  }
}
