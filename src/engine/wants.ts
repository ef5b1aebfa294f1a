import { ChunkSet } from '../bytes/chunk-set.js';
import { endOf, type Extent, SECTOR } from '../bytes/extent.js';

/**
 * Extents that the receiver has asked its sender for in full, because their partial update could not be verified. The
 * target is not right until all of them have come.
 */
export class Wants {
  private readonly wanted = new ChunkSet();
  private readonly came = new ChunkSet();

  /**
   * @param volumeSize in bytes; the last unit may be shorter
   * @param tell asks the sender for an extent
   * @param unit the unit in which extents are remembered, in bytes; partly requested units count in full
   */
  constructor(
    private readonly volumeSize: number,
    private readonly tell: (extent: Extent) => Promise<void>,
    private readonly unit = SECTOR,
  ) {}

  /** Whether anything was ever asked for. */
  get hasAny(): boolean {
    return this.wanted.count > 0;
  }

  /** How much was asked for, in whole units. Bytes. */
  get bytes(): number {
    return this.wanted.count * this.unit;
  }

  async ask({ offset, length }: Extent): Promise<void> {
    const { unit } = this;
    this.wanted.addRange(Math.floor(offset / unit), Math.ceil((offset + length) / unit));
    await this.tell({ offset, length });
  }

  /** Notes a block that came in full: its bytes are no longer missing. */
  take(block: Extent): void {
    if (!this.hasAny) return;
    const { unit, volumeSize } = this;
    const end = endOf(block) === volumeSize ? Math.ceil(volumeSize / unit) : Math.floor(endOf(block) / unit);
    for (let index = Math.ceil(block.offset / unit); index < end; index++) {
      if (this.wanted.has(index)) this.came.add(index);
    }
  }

  /** The first bytes that were asked for and have not come, or null. */
  findMissing(): Extent | null {
    if (this.came.count === this.wanted.count) return null;
    for (const { offset, length } of this.wanted.without(this.came).runs()) {
      return { offset: offset * this.unit, length: length * this.unit };
    }
    return null;
  }
}
