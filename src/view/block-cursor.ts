import { endOf } from '../bytes/extent.js';
import { FormatError } from '../errors.js';
import type { Block } from '../stream/block.js';
import type { StoreWindow } from './store-window.js';

const WHAT = 'the archives';

/** Consumes ordered blocks in pieces of any size, and releases their memory. */
export class BlockCursor {
  private readonly blocks: AsyncIterator<Block>;
  private block: Block | null = null;
  /** How far the volume's bytes were consumed. */
  private at = 0;

  constructor(blocks: AsyncIterable<Block>) {
    this.blocks = blocks[Symbol.asyncIterator]();
  }

  /**
   * Copies all that the blocks have for a window's chunks to the right place in the window. Throws FormatError if they
   * do not match the window's extents: more bytes, fewer, or elsewhere.
   */
  async copyInto(window: StoreWindow, bytes: Buffer): Promise<void> {
    let copied = 0;
    let slot = 0;
    for (let block = await this.peek(); block !== null && this.at < window.end; block = await this.peek()) {
      const { chunkSize, oldChunks } = window;
      const chunk = Math.floor(this.at / chunkSize);
      while ((oldChunks[slot] ?? Infinity) < chunk) slot += 1;
      if (oldChunks[slot] !== chunk) this.fail('a block is outside the announced extents');
      const end = Math.min(endOf(block), (chunk + 1) * chunkSize);
      const place = slot * chunkSize + this.at - chunk * chunkSize;
      const length = end - this.at;
      if (block.kind === 'data')
        block.data.bytes.copy(bytes, place, this.at - block.offset, end - block.offset);
      else bytes.fill(0, place, place + length);
      this.at = end;
      copied += length;
    }
    if (copied !== window.coveredBytes)
      this.fail(`${copied} bytes came, but ${window.coveredBytes} were announced`);
  }

  /** Throws FormatError if blocks are left. */
  async expectEnd(): Promise<void> {
    if ((await this.peek()) !== null) this.fail('a block is outside the announced extents');
  }

  /** Releases what is held, and ends the blocks. */
  async close(): Promise<void> {
    this.drop();
    await this.blocks.return?.();
  }

  /** The block at `at`; the next block if the last one was consumed; null at the end. */
  private async peek(): Promise<Block | null> {
    while (this.block === null || this.at === endOf(this.block)) {
      this.drop();
      const next = await this.blocks.next();
      if (next.done === true) return null;
      this.block = next.value;
      if (this.block.offset < this.at) this.fail('blocks overlap or are not in ascending order');
      this.at = this.block.offset;
    }
    return this.block;
  }

  private drop(): void {
    if (this.block?.kind === 'data') this.block.data.release();
    this.block = null;
  }

  private fail(problem: string): never {
    throw new FormatError(WHAT, this.at, 'block', problem);
  }
}
