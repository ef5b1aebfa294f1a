import { crc32 } from 'node:zlib';
import { readBlocks, type ReadBlock } from '../block-reader.js';
import type { LendBuffer } from '../byte-channel.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { isZero } from '../device/zero-test.js';
import { splitExtents, sumLengths, type Extent } from '../extent.js';
import type { Surroundings } from '../host/surroundings.js';
import type { BlockWriter } from '../stream/block-writer.js';
import { MAX_BLOCK_LENGTH } from '../stream/frame-format.js';
import type { Checkpoints } from './checkpoints.js';
import type { BlockPacker, ReadyBlock } from './pack-blocks.js';
import { behind, type StreamRest } from './resume-token.js';

/** With a live origin the changes are read again after the data, but not for ever: it may never stand still. */
const MOST_PASSES = 3;

/** How much goes out as one discard: more would keep a receiver that has to write zeroes busy for long. Bytes. */
const DISCARD_LIMIT = 64 * 1024 * 1024;

/** Sends the blocks of a source's changes, each behind its proof, in as many passes as it takes. */
export class BlockSender {
  blocks = 0;
  bytes = 0;
  resumedBytes = 0;
  /** Whether the changes, read again after the last data, were those that had been sent. */
  lastPassSawAll = true;

  constructor(
    private readonly source: ChangeSource,
    /** Where the old bytes of each block are read to prove them, or null. */
    private readonly base: ReadableVolume | null,
    private readonly writer: BlockWriter,
    private readonly packer: BlockPacker | null,
    private readonly lend: LendBuffer,
    private readonly about: Surroundings,
    private readonly checkpoints: Checkpoints | null,
  ) {}

  /** Sends until nothing new shows, or three times; returns all that was known to have changed at the end. */
  async sendPasses({ changes, offset }: StreamRest): Promise<ChangeSet> {
    this.resumedBytes = changes.changedBytes - sumLengths(behind(changes.extents(), offset));
    this.about.progress.advance(this.resumedBytes);
    let known = changes;
    let todo = changes;
    for (let pass = 1; ; pass++) {
      if (pass > 1) await this.writer.nextPass();
      // A second pass shows that somebody writes: nothing of that can be taken up again.
      await (pass === 1 ? this.sendExtents(todo, offset, this.checkpoints) : this.sendExtents(todo, 0, null));
      if (!this.source.live) {
        await this.source.checkValid();
        return known;
      }
      const again = await this.source.readChanges();
      todo = again.since(known);
      known = again;
      if (todo.chunks.count === 0) return known;
      if (pass === MOST_PASSES) {
        this.lastPassSawAll = false;
        return known;
      }
    }
  }

  private async sendExtents(
    changes: ChangeSet,
    from: number,
    checkpoints: Checkpoints | null,
  ): Promise<void> {
    const olds = this.base === null ? null : this.read(this.base, behind(changes.trackedDataExtents(), from));
    const discards = new ExtentQueue(splitExtents(behind(changes.discardedExtents(), from), DISCARD_LIMIT));
    try {
      const blocks = this.read(this.source.data, behind(changes.dataExtents(), from));
      for await (const block of this.packer?.makeReady(blocks) ?? blocks) {
        const { offset, data } = block;
        const { length } = data.bytes;
        try {
          this.about.signal.throwIfAborted();
          for (const extent of discards.takeBelow(offset)) await this.sendDiscard(extent);
          await this.proveBlock(block, olds);
          await this.sendBlock(block);
        } finally {
          data.release();
        }
        await checkpoints?.afterBlock(offset + length);
      }
      for (const extent of discards.takeBelow(Infinity)) await this.sendDiscard(extent);
    } finally {
      await olds?.return(undefined);
    }
  }

  private read(volume: ReadableVolume, extents: Iterable<Extent>): AsyncGenerator<ReadBlock> {
    return readBlocks(volume, extents, MAX_BLOCK_LENGTH, this.lend);
  }

  /** The old bytes come in the same pieces as the new ones; a tail that was not there at the base has none. */
  private async proveBlock({ offset }: ReadBlock, olds: AsyncGenerator<ReadBlock> | null): Promise<void> {
    const old = await olds?.next();
    if (old === undefined || old.done === true) return;
    const { data } = old.value;
    try {
      if (old.value.offset !== offset)
        throw new Error(`old bytes at ${old.value.offset} for a block at ${offset}`);
      await this.writer.prove({ offset, length: data.bytes.length, crc: crc32(data.bytes) });
    } finally {
      data.release();
    }
  }

  /** Not proved: whatever the target held there, it holds zeroes afterwards. */
  private async sendDiscard({ offset, length }: Extent): Promise<void> {
    this.about.signal.throwIfAborted();
    await this.writer.discard(offset, length);
    this.countBlock(length);
  }

  private async sendBlock(block: ReadBlock | ReadyBlock): Promise<void> {
    const { offset, data } = block;
    const { bytes } = data;
    if (isZero(bytes)) await this.writer.zero(offset, bytes.length);
    else if (this.packer !== null && 'known' in block) await this.packer.send(block, this.writer);
    else await this.writer.data(offset, bytes);
    this.countBlock(bytes.length);
  }

  private countBlock(length: number): void {
    this.blocks += 1;
    this.bytes += length;
    this.about.progress.advance(length);
  }
}

/** Ascending extents that are taken as far as is asked for. */
class ExtentQueue {
  private readonly extents: Iterator<Extent>;
  private next: IteratorResult<Extent, unknown>;

  constructor(extents: Iterable<Extent>) {
    this.extents = extents[Symbol.iterator]();
    this.next = this.extents.next();
  }

  *takeBelow(offset: number): Generator<Extent> {
    for (; this.next.done !== true && this.next.value.offset < offset; this.next = this.extents.next()) {
      yield this.next.value;
    }
  }
}
