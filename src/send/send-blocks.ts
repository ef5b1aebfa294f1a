import { isZero } from '../bytes/contents.js';
import { endOf, splitExtents, sumLengths, uniteExtents, type Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { readBlocks, type ReadBlock } from '../engine/block-reader.js';
import { compareBlocks, type Comparison, type OutgoingBlock } from '../engine/compare-blocks.js';
import type { BlockPacker, ReadyBlock } from '../engine/pack-blocks.js';
import type { BlockWriter } from '../stream/block-writer.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { SendSurroundings } from './begin-stream.js';
import { type Checkpoints, behind, type StreamRest } from './checkpoints.js';
import { WantedPieces } from './wanted-pieces.js';

/** With a live origin the changes are read again after the data, but only this often: the origin may never be idle. */
const MOST_PASSES = 3;

/**
 * The most that is sent as one discard: more would keep a receiver that has to write zeroes busy for too long. Bytes.
 */
const DISCARD_LIMIT = 64 * 1024 * 1024;

/** A line to a receiver that can ask for pieces in full. */
export interface WantLine {
  readonly host: string;
  /** From now on, passes the receiver's requests to these pieces. */
  listen(wanted: WantedPieces): void;
  /** Resolves when the receiver has read and proved everything that was sent. Until then it may ask for more. */
  hearAll(): Promise<void>;
}

/** Where old bytes are read, and how they are used. */
export interface OldBytesSource extends Comparison {
  readonly volume: ReadableVolume;
}

/** How blocks are sent. */
export interface BlockPlan {
  /** The old bytes of each block; null: they are not used. */
  readonly old: OldBytesSource | null;
  readonly packer: BlockPacker | null;
  readonly checkpoints: Checkpoints | null;
}

/** Where blocks go. */
export interface BlockLine {
  readonly writer: BlockWriter;
  /** Null for a pipe. */
  readonly session: WantLine | null;
}

/** What a pass sends. */
interface Pass {
  /**
   * The extents whose new bytes are read, those whose old bytes are read, and those that are discarded: each ascending.
   */
  readonly data: Iterable<Extent>;
  readonly old: Iterable<Extent>;
  readonly discards: Iterable<Extent>;
  /** Null: blocks are sent in full. */
  readonly unit: number | null;
  readonly checkpoints: Checkpoints | null;
}

/** Sends the blocks of a source's changes, each after its proof, in as many passes as it takes. */
export class BlockSender {
  blocks = 0;
  /** How many bytes were sent in blocks. */
  bytes = 0;
  resumedBytes = 0;
  /** Whether there were no new changes when they were read again after the last data. */
  lastPassSawAll = true;
  private wanted = new WantedPieces();

  constructor(
    private readonly source: ChangeSource,
    private readonly plan: BlockPlan,
    private readonly line: BlockLine,
    private readonly env: SendSurroundings,
  ) {
    line.session?.listen(this.wanted);
  }

  /**
   * Sends passes until there are no new changes, at most three; also sends in full what the receiver could not prove.
   * Returns everything that was known to have changed at the end.
   */
  async sendPasses({ changes, offset, sent }: StreamRest): Promise<ChangeSet> {
    this.resumedBytes = sent;
    this.env.progress.advance(changes.changedBytes - sumLengths(behind(changes.extents(), offset)));
    await this.sendPass(this.firstPass(changes, offset));
    await this.hearWants(changes, offset);
    if (this.source.facts.live) return await this.followLive(changes);
    if (!this.wanted.isEmpty) await this.sendNextPass(null, true);
    await this.source.watch.checkValid();
    return changes;
  }

  /** Sends what has changed meanwhile, and in the second pass also what the receiver asks for from the first. */
  private async followLive(sent: ChangeSet): Promise<ChangeSet> {
    let known = sent;
    for (let pass = 1; ; pass++) {
      const again = await this.source.watch.readChanges();
      const more = again.since(known);
      known = again;
      const isWanted = pass === 1 && !this.wanted.isEmpty;
      if (more.chunks.count === 0 && !isWanted) return known;
      if (pass === MOST_PASSES) {
        this.lastPassSawAll = false;
        return known;
      }
      await this.sendNextPass(more, isWanted);
    }
  }

  private firstPass(changes: ChangeSet, from: number): Pass {
    return {
      data: behind(changes.dataExtents(), from),
      old: behind(changes.trackedDataExtents(), from),
      discards: behind(changes.discardedExtents(), from),
      unit: this.plan.old?.unit ?? null,
      checkpoints: this.plan.checkpoints,
    };
  }

  /**
   * Sends what the receiver asked for, and what changed meanwhile, in full: that is right whatever the target holds. It
   * cannot be resumed, because its offsets do not ascend from those of the first pass.
   */
  private async sendNextPass(more: ChangeSet | null, isWanted: boolean): Promise<void> {
    const wanted = () => (isWanted ? this.wanted.extents() : []);
    await this.line.writer.nextPass();
    await this.sendPass({
      data: uniteExtents(more?.dataExtents() ?? [], wanted()),
      old: uniteExtents(more?.trackedDataExtents() ?? [], wanted()),
      discards: more?.discardedExtents() ?? [],
      unit: null,
      checkpoints: null,
    });
  }

  /** Waits until the receiver has proved the first pass, and notes what it asks for. */
  private async hearWants(changes: ChangeSet, from: number): Promise<void> {
    const { wanted } = this;
    const { session } = this.line;
    // The reader of a pipe cannot ask for anything: it stops instead.
    if (session === null || !wanted.hasOffered) return;
    await session.hearAll();
    wanted.settle(splitExtents(behind(changes.dataExtents(), from), MAX_BLOCK_LENGTH), session.host);
    if (wanted.isEmpty) return;
    const bytes = sumLengths(wanted.extents());
    this.env.detail(
      `${session.host}: ${bytes} bytes on the target are not as expected: they are sent in full`,
    );
  }

  private async sendPass({ data, old, discards, unit, checkpoints }: Pass): Promise<void> {
    const { old: oldBytes, packer } = this.plan;
    const olds = oldBytes === null ? null : this.read(oldBytes.volume, old);
    const left = new ExtentQueue(splitExtents(discards, DISCARD_LIMIT));
    let pieces = 0;
    try {
      const news = this.read(this.source.volumes.data, data);
      const blocks = compareBlocks(news, olds, { unit });
      for await (const block of packer?.makeReady(blocks) ?? blocks) {
        try {
          this.env.signal.throwIfAborted();
          for (const extent of left.takeBelow(block.offset)) await this.sendDiscard(extent);
          if (block.section !== null) this.wanted.offer(pieces);
          await this.sendBlock(block);
        } finally {
          block.data.release();
        }
        if (block.piece === null) continue;
        pieces += 1;
        this.env.progress.advance(block.piece.length);
        await checkpoints?.afterBlock(endOf(block.piece), this.resumedBytes + this.bytes);
      }
      for (const extent of left.takeBelow(Infinity)) await this.sendDiscard(extent);
    } finally {
      await olds?.return(undefined);
    }
  }

  private read(volume: ReadableVolume, extents: Iterable<Extent>): AsyncGenerator<ReadBlock> {
    return readBlocks(volume, extents, MAX_BLOCK_LENGTH, this.env.lend);
  }

  /** Sent without a proof: whatever the target held there, it reads as zeroes afterwards. */
  private async sendDiscard({ offset, length }: Extent): Promise<void> {
    this.env.signal.throwIfAborted();
    await this.line.writer.discard(offset, length);
    this.countBlock(length);
    this.env.progress.advance(length);
  }

  private async sendBlock(block: OutgoingBlock | (OutgoingBlock & ReadyBlock)): Promise<void> {
    const { offset, data, proof, section } = block;
    const { bytes } = data;
    const { writer } = this.line;
    const { packer } = this.plan;
    if (proof !== null) await writer.prove(proof);
    if (section !== null) await writer.openSection(section);
    if (bytes.length === 0) return;
    if (isZero(bytes)) await writer.zero(offset, bytes.length);
    else if (packer !== null && 'known' in block) await packer.send(block, writer);
    else await writer.data(offset, bytes);
    this.countBlock(bytes.length);
  }

  private countBlock(length: number): void {
    this.blocks += 1;
    this.bytes += length;
  }
}

/** Ascending extents that are taken up to an offset at a time. */
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
