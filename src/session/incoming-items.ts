import type { StreamItem } from '../stream/block.js';

/** What a stream carries, one item after another, where the next can be looked at before its turn. */
export class IncomingItems {
  private readonly items: AsyncIterator<StreamItem>;
  /** The last one comes next. */
  private readonly held: StreamItem[] = [];

  constructor(blocks: AsyncIterable<StreamItem>) {
    this.items = blocks[Symbol.asyncIterator]();
  }

  /** The next item, or null where the stream has ended whole. Throws what reading a stream throws. */
  async next(): Promise<StreamItem | null> {
    const held = this.held.pop();
    if (held !== undefined) return held;
    const next = await this.items.next();
    return next.done === true ? null : next.value;
  }

  /** Makes an item that was taken the next one. */
  putBack(item: StreamItem): void {
    this.held.push(item);
  }

  /** Gives back the memory of what nobody will take any more. */
  drop(): void {
    for (const item of this.held.splice(0)) if (item.kind === 'data') item.data.release();
  }
}
