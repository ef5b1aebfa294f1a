import { splitExtents, sumLengths, uniteExtents, type Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { readOutgoing, type OutgoingBatch } from '../engine/outgoing-batches.js';
import type { BlockPacker } from '../engine/pack-blocks.js';
import { type BlockBatch, ENTRY } from '../stream/batches/batch.js';
import type { StreamWriter } from '../stream/block-writer.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { SendSurroundings } from './begin-stream.js';
import { type Checkpoints, behind, type StreamRest } from './checkpoints.js';
import { WantedPieces } from './wanted-pieces.js';

/** With a live origin the changes are read again after the data, but only this often: the origin may never be idle. */
const MOST_PASSES = 3;

/** A line to a receiver that can ask for pieces in full. */
export interface WantLine {
  readonly host: string;
  /** From now on, passes the receiver's requests to these pieces. */
  listen(wanted: WantedPieces): void;
  /** Resolves when the receiver has read and proved everything that was sent. Until then it may ask for more. */
  hearAll(): Promise<void>;
}

/** Where old bytes are read, and how they are used. */
export interface OldBytesSource {
  readonly volume: ReadableVolume;
  /**
   * The unit in which old and new bytes are compared: only units that differ are sent. Null: everything is sent. Bytes,
   * a power of two.
   */
  readonly unit: number | null;
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
  readonly writer: StreamWriter;
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
    const olds = oldBytes?.volume ?? null;
    const news = this.source.volumes.data;
    const extents = { data, old: olds === null ? [] : old, discards };
    const batches = readOutgoing(extents, { news, olds, unit }, this.env.lend);
    const pass = { checkpoints, pieces: 0 };
    const { writer } = this.line;
    if (packer === null) {
      for await (const each of batches) await this.sendBatch(each, pass, (batch) => writer.batch(batch));
    } else {
      for await (const each of packer.makeReady(batches)) {
        await this.sendBatch(each, pass, () => packer.send(each, writer));
      }
    }
  }

  /** @param pass how many of its pieces were sent before */
  private async sendBatch(
    { batch, sections, pieces, coveredBytes, end }: OutgoingBatch,
    pass: { readonly checkpoints: Checkpoints | null; pieces: number },
    write: (batch: BlockBatch) => Promise<void>,
  ): Promise<void> {
    const { checkpoints } = pass;
    for (const section of sections) this.wanted.offer(pass.pieces + section);
    // A checkpoint that is due comes after the next block, not after the next MiB.
    const isSplit = checkpoints?.isDue === true && this.plan.packer === null;
    for (const part of isSplit ? batch.parts() : [batch]) {
      const place = placeAfter(part);
      try {
        this.env.signal.throwIfAborted();
        // Before it is written, because its reader may count it down.
        const { blocks, bytes } = part.sum();
        await write(part);
        this.blocks += blocks;
        this.bytes += bytes;
      } finally {
        part.release();
      }
      if (isSplit && place !== null) await checkpoints.afterBlock(place, this.resumedBytes + this.bytes);
    }
    pass.pieces += pieces;
    this.env.progress.advance(coveredBytes);
    if (end !== null && !isSplit) await checkpoints?.afterBlock(end, this.resumedBytes + this.bytes);
  }
}

/**
 * Where another session can continue after a part of a batch, which is a block with its proof, a section with its parts,
 * or a discard; null: not after this one. Bytes.
 */
function placeAfter(part: BlockBatch): number | null {
  return part.kindAt(0) === ENTRY.discard ? null : part.endAt(0);
}
