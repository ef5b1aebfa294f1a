import { crc32 } from 'node:zlib';
import pLimit from 'p-limit';
import type { LendBuffer } from '../bytes/byte-channel.js';
import { endOf, splitExtents, type Extent } from '../bytes/extent.js';
import { StepsUnderWay } from '../codec/work-ahead.js';
import type { BlockDevice } from '../device/block-device.js';
import { UnsafeTargetError } from '../errors.js';
import { loanSize } from '../memory/aligned-memory.js';
import {
  type Announcement,
  type Block,
  MAX_BLOCK_LENGTH,
  type Proof,
  type Section,
} from '../stream/block.js';
import type { ResumePoint } from '../stream/mark-format.js';
import { BlockRun, releaseBlock, type OldBytesOfRun, type OldBytesUse } from './block-run.js';
import { RunProver, type ProofOptions } from './run-prover.js';
import type { UndoLog } from './undo-log.js';

/** Writes under way at once. */
const WRITES_AHEAD = 4;
/**
 * The most that waits until its old bytes are saved and flushed: three such batches fit in any receiver's pool. Bytes.
 */
const SAVED_BATCH_BYTES = 8 * 1024 * 1024;
const BATCH_BYTES = 1024 * 1024;
/**
 * Runs whose old bytes are being read, or wait for memory for that. Needed because sections may come without a block.
 */
const READS_AHEAD = 16;
/** The most runs of a batch: a run of unchanged sections uses no block memory, but some memory. */
const BATCH_RUNS = 4096;
const CHECKPOINT_BYTES = 128 * 1024 * 1024;

/** What an applier does besides writing. */
export interface ApplierOptions extends ProofOptions {
  /** Saves the old bytes, on stable storage, before they are overwritten. */
  readonly log?: UndoLog;
  /** Lends memory for old bytes, 1 MiB or more. Needed with a log, and for proofs. */
  readonly lendOld?: LendBuffer;
  /** How much is saved with one flush of the log before it is written. Bytes. */
  readonly batchBytes?: number;
  /**
   * How much is written between two flushes of the target. A crash may tear blocks that were written after the last
   * one. Bytes.
   */
  readonly checkpointBytes?: number;
}

/** Runs that are saved with one flush before they are written. */
class Batch {
  readonly runs: BlockRun[] = [];
  /** How much of the lent memory they use. */
  bytes = 0;
  /** How many writes the log has announced, including these. */
  announced = 0;

  /** @param blocksBefore how many blocks came in before its first block */
  constructor(readonly blocksBefore: number) {}
}

/**
 * Writes blocks to a target: the only writer of targets. With a log, the old bytes of a batch of blocks are on stable
 * storage before the first of them is overwritten.
 *
 * Batches go through three steps, each in the order of the batches: their old bytes are read, proved and put in the
 * log; the log is flushed; they are written. While one batch is written, the next is flushed and a third comes in.
 * After a failed step, nothing that waits for it begins.
 */
export class Applier {
  /** How many blocks came in. */
  blocks = 0;
  /** Whether it began to write. Before that, the target is unchanged. */
  hasWritten = false;
  private batch = new Batch(0);
  private run: BlockRun | null = null;
  private cursor = 0;
  private proof: Proof | null = null;
  private section: Section | null = null;
  /** The proving of the last runs whose old bytes were asked for. */
  private readonly proving: Promise<void>[] = [];
  private unflushedBytes = 0;
  private readonly prover: RunProver;
  private readonly steps = new StepsUnderWay();
  /** The last step of each kind. */
  private saved = Promise.resolve();
  private durable = Promise.resolve();
  private written = Promise.resolve();
  private writtenBefore = Promise.resolve();
  private flushed = Promise.resolve();
  /** The batches that are not completely written. */
  private readonly batches = new Set([this.batch]);

  constructor(
    private readonly target: BlockDevice,
    private readonly options: ApplierOptions = {},
  ) {
    this.prover = new RunProver(target.path, options);
  }

  /** How many blocks the target held neither old nor new. */
  get mismatches(): number {
    return this.prover.mismatches;
  }

  /** How many blocks and sections did not confirm that the target held the stream's base. */
  get doubts(): number {
    return this.prover.doubts;
  }

  /** How many of the doubts held something else. */
  get failures(): number {
    return this.prover.failures;
  }

  /** How many blocks and sections still held the old bytes although the new ones were expected. */
  get reverted(): number {
    return this.prover.reverted;
  }

  /** Sets what the target must hold in the place of the next block. */
  expect(proof: Proof): void {
    this.closeSection();
    this.proof = proof;
  }

  /**
   * Opens an extent whose differing parts alone come. They are written only if the target holds the old bytes in
   * all of the extent. Throws as `apply`.
   */
  async openSection(section: Section): Promise<void> {
    this.closeSection();
    this.proof = null;
    this.checkEnd(section);
    if (this.options.lendOld === undefined) throw new Error('a section that cannot be proved');
    if (section.offset < this.cursor) await this.drain();
    else if (this.isBatchFull) await this.closeBatch();
    if (this.run?.hasRoomFor(section, 'read') === false) await this.closeRun();
    this.run ??= this.openRun(section.offset, 'read');
    this.run.addSection(section);
    this.section = section;
    this.cursor = section.offset;
    this.steps.throwFailure();
  }

  /**
   * Accepts a block and owns it from now on. Throws DeviceError, also for an earlier block; UnsafeTargetError past the
   * target's end; BaseMismatchError, before anything of the block's batch is written, if it must stop at a mismatch.
   */
  async apply(block: Block): Promise<void> {
    this.blocks += 1;
    const { offset, length } = block;
    const isProved = this.proof?.offset === offset && this.proof.length === length;
    const proof = isProved ? this.proof : null;
    this.proof = null;
    try {
      this.checkEnd(block);
    } catch (error) {
      releaseBlock(block);
      throw error;
    }
    if (this.section !== null && liesWithin(block, this.section)) this.addPart(block, this.section);
    else await this.addWhole(block, proof);
    this.steps.throwFailure();
  }

  private async addWhole(block: Block, proof: Proof | null): Promise<void> {
    this.closeSection();
    this.options.wants?.take(block);
    // Only ascending blocks are known not to overlap blocks that wait or are being written.
    if (block.offset < this.cursor) await this.drain();
    this.cursor = endOf(block);
    for (const piece of this.piecesOf(block)) {
      await this.add(piece, proof);
      if (this.isBatchFull) await this.closeBatch();
    }
  }

  /** All parts of a section go to one run, so that no part is written before the whole section is checked. */
  private addPart(block: Block, section: Section): void {
    this.cursor = endOf(block);
    this.run?.add({ block, proof: null, section });
    this.batch.bytes += loanSize(block.length);
  }

  /** The next block does not belong to the open section, if any. */
  closeSection(): void {
    if (this.section !== null) this.cursor = Math.max(this.cursor, endOf(this.section));
    this.section = null;
  }

  /** Writes what is left and flushes the target. When it resolves, everything is on stable storage. */
  async finish(): Promise<void> {
    await this.drain();
    await this.flushed;
    // From now on the owner may use the log again.
    await this.saved;
    await this.target.flush();
  }

  /**
   * As `finish`, in the middle of a stream. Then writes a durable resume point to the log, if there is one; not while
   * any extent is still to be sent in full, because the resume point would be past data that has not come.
   */
  async checkpoint(place: Pick<ResumePoint, 'token' | 'changedBytes'>): Promise<void> {
    await this.finish();
    this.unflushedBytes = 0;
    const { log, wants } = this.options;
    if (wants?.hasAny === true) return;
    // After everything else that is still being added to the log.
    this.saved = this.steps.start([this.saved], async () => {
      const { mismatches, doubts } = this;
      await log?.markResumePoint({ ...place, mismatches, doubts });
    });
    await this.saved;
    this.steps.throwFailure();
  }

  /** Waits for the running steps and gives all memory back, after an apply that failed. */
  async abandon(): Promise<void> {
    await this.steps.settle();
    for (const { runs } of this.batches) {
      for (const run of runs) {
        run.releaseBlocks();
        await run.releaseOld();
      }
    }
    this.batches.clear();
  }

  private get isBatchFull(): boolean {
    return this.batch.bytes >= this.batchBytes || this.batch.runs.length >= BATCH_RUNS;
  }

  private get batchBytes(): number {
    return this.options.batchBytes ?? (this.options.log === undefined ? BATCH_BYTES : SAVED_BATCH_BYTES);
  }

  /** A saved piece must not be longer than a batch: otherwise a torn log could not be told from a damaged one. */
  private *piecesOf(block: Block): Generator<Block> {
    const { log } = this.options;
    if (log === undefined || block.kind === 'data' || block.length <= MAX_BLOCK_LENGTH) yield block;
    else for (const extent of splitExtents([block], MAX_BLOCK_LENGTH)) yield { kind: block.kind, ...extent };
  }

  private async add(block: Block, proof: Proof | null): Promise<void> {
    const { log, lendOld } = this.options;
    const isNeeded = proof !== null || log?.isWhole(block) === true;
    const use: OldBytesUse = isNeeded && lendOld !== undefined ? 'read' : 'ignored';
    if (this.run?.hasRoomFor(block, use) === false) await this.closeRun();
    this.run ??= this.openRun(block.offset, use);
    this.run.add({ block, proof, section: null });
    this.batch.bytes += loanSize(block.length);
  }

  private openRun(offset: number, use: OldBytesUse): BlockRun {
    const run = new BlockRun(offset, use);
    this.batch.runs.push(run);
    return run;
  }

  /** Starts to read what the target holds in the place of a run, while earlier runs are still being processed. */
  private async closeRun(): Promise<void> {
    const { run, batch, written } = this;
    if (run === null) return;
    this.run = null;
    const { lendOld } = this.options;
    if (run.use === 'read' && lendOld !== undefined) run.startReading(this.target, lendOld);
    // Old bytes that are not read here are read in whole blocks, which earlier batches may still be writing to.
    const before = run.use === 'read' ? [this.saved] : [this.saved, written];
    this.saved = this.steps.start(before, () => this.saveAndProve(run, batch));
    if (run.sections.length === 0) return;
    this.proving.push(this.saved);
    // A failure is thrown with those of all steps.
    if (this.proving.length > READS_AHEAD) await this.proving.shift()?.catch(() => undefined);
  }

  /** Starts to process a batch. Waits while two others are being processed. */
  private async closeBatch(): Promise<void> {
    this.closeSection();
    await this.closeRun();
    const { batch, durable, written } = this;
    const { log } = this.options;
    if (batch.runs.length === 0) return;
    this.saved = this.steps.start([this.saved], async () => {
      batch.announced = log?.announced ?? 0;
      await log?.handOver();
    });
    // One flush at a time: of two at once, one may report an error and the other success.
    this.durable = this.steps.start([this.saved, durable], async () => log?.sync());
    this.written = this.steps.start([this.durable, written], () => this.write(batch));
    this.batch = new Batch(this.blocks);
    this.batches.add(this.batch);
    // Limits how much of the log is not durable yet, and how much waits to be written.
    await durable;
    await this.writtenBefore;
    this.writtenBefore = written;
  }

  private async drain(): Promise<void> {
    await this.closeBatch();
    await this.written;
  }

  private async saveAndProve(run: BlockRun, { blocksBefore }: Batch): Promise<void> {
    const old = await run.oldBytes();
    const oldCrcs = await this.prover.prove(run, old, blocksBefore);
    const { log } = this.options;
    if (log !== undefined && run.waiting.length > 0) await this.save(log, run, old, oldCrcs);
    await run.releaseOld();
  }

  private async save(
    log: UndoLog,
    { waiting }: BlockRun,
    old: OldBytesOfRun | null,
    oldCrcs: readonly (number | undefined)[],
  ): Promise<void> {
    const blocks = waiting.map(({ block }) => block);
    if (old === null) {
      for (const block of blocks) await log.save(this.target, block, null);
    } else {
      for (const known of old.pieces(blocks, oldCrcs)) {
        await log.save(this.target, { offset: known.offset, length: known.bytes.length }, known);
      }
    }
    await log.announce(blocks.map(announcementOf));
  }

  private async write(batch: Batch): Promise<void> {
    const limit = pLimit(WRITES_AHEAD);
    const failed = new AbortController();
    const write = async (blocks: readonly Block[]) => {
      await this.writeTogether(blocks, failed.signal).catch((error: unknown) => {
        failed.abort(error);
      });
    };
    await limit.map(takeWrites(batch), write);
    failed.signal.throwIfAborted();
    this.batches.delete(batch);
    await this.flushNowAndThen(batch);
  }

  /** @param failed aborted by a failed write: nothing after it is written */
  private async writeTogether(blocks: readonly Block[], failed: AbortSignal): Promise<void> {
    const [first] = blocks;
    if (first === undefined) return;
    try {
      failed.throwIfAborted();
      this.hasWritten = true;
      if (first.kind === 'zero') await this.target.zero(first.offset, first.length);
      else if (first.kind === 'discard') await this.target.discard(first.offset, first.length);
      else {
        const pieces = blocks.flatMap((block) => (block.kind === 'data' ? [block.data.bytes] : []));
        await this.target.writePiecesAt(pieces, first.offset);
      }
      for (const { length } of blocks) this.unflushedBytes += length;
    } finally {
      blocks.forEach(releaseBlock);
    }
  }

  /** Flushes the target while the next batch is processed, and then notes in the log how far it is flushed. */
  private async flushNowAndThen({ announced }: Batch): Promise<void> {
    const { log } = this.options;
    const { checkpointBytes = CHECKPOINT_BYTES } = this.options;
    if (log === undefined || this.unflushedBytes < checkpointBytes) return;
    this.unflushedBytes = 0;
    await this.flushed;
    this.flushed = this.steps.start([], async () => {
      await this.target.flush();
      this.saved = this.steps.start([this.saved], () => log.markFlushed(announced));
    });
  }

  private checkEnd({ offset, length }: Extent): void {
    const { path, size } = this.target;
    if (offset + length <= size) return;
    const problem = `a block of ${length} bytes at byte ${offset} is past its end (${size} bytes)`;
    throw new UnsafeTargetError(path, problem);
  }
}

function liesWithin(inner: Extent, outer: Extent): boolean {
  return inner.offset >= outer.offset && endOf(inner) <= endOf(outer);
}

function announcementOf(block: Block): Announcement {
  const { kind, offset, length } = block;
  const crc = kind === 'data' ? (block.crc ?? crc32(block.data.bytes)) : 0;
  return { offset, length, zeroes: kind !== 'data', crc };
}

function* takeWrites({ runs }: Batch): Generator<readonly Block[]> {
  for (const run of runs) yield* run.takeWrites();
}
