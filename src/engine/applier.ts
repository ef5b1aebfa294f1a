import { crc32 } from 'node:zlib';
import pLimit from 'p-limit';
import type { LendBuffer } from '../bytes/byte-channel.js';
import { endOf, splitExtents, type Extent } from '../bytes/extent.js';
import { StepsUnderWay } from '../codec/work-ahead.js';
import type { BlockDevice } from '../device/block-device.js';
import { UnsafeTargetError } from '../errors.js';
import { loanSize } from '../memory/aligned-memory.js';
import type { Block } from '../stream/block.js';
import { MAX_BLOCK_LENGTH, type Announcement, type Proof, type Section } from '../stream/frame-format.js';
import type { ResumePoint } from '../stream/mark-format.js';
import { BlockRun, releaseBlock, type OldBytesOfRun, type OldBytesUse } from './block-run.js';
import { RunProver, type ProofOptions } from './run-prover.js';
import type { UndoLog } from './undo-log.js';

/** Writes under way at once. */
const WRITES_AHEAD = 4;
/** How much may wait until its old bytes are saved and flushed: three such batches fit in any receiver's pool. */
const SAVED_BATCH_BYTES = 8 * 1024 * 1024;
const BATCH_BYTES = 1024 * 1024;
/** Runs whose old bytes are read, or wait for memory to be read into: sections may come without a block. */
const READS_AHEAD = 16;
/** Runs of a batch: those of sections that need nothing take no memory of blocks, but some. */
const BATCH_RUNS = 4096;
const CHECKPOINT_BYTES = 128 * 1024 * 1024;

/** What an applier does beside writing. */
export interface ApplierOptions extends ProofOptions {
  /** Saves the old bytes, on stable storage, before they are overwritten. */
  readonly log?: UndoLog;
  /** Lends memory for old bytes, 1 MiB or more: where there is a log, or proofs come. */
  readonly lendOld?: LendBuffer;
  /** How much is saved with one flush of the log, and only then written. Bytes. */
  readonly batchBytes?: number;
  /** How much is written between two flushes of the target: past the last one, a crash may tear blocks. Bytes. */
  readonly checkpointBytes?: number;
}

/** Runs that are saved with one flush, and only then written. */
class Batch {
  readonly runs: BlockRun[] = [];
  /** What they take of the memory that is lent. */
  bytes = 0;
  /** How many writes the log has announced, these included. */
  announced = 0;

  /** @param blocksBefore how many blocks came in before its first */
  constructor(readonly blocksBefore: number) {}
}

/**
 * Lands blocks on a target: the only writer of targets. With a log, the old bytes of a batch of blocks are on
 * stable storage before the first of them is overwritten.
 *
 * Batches go through three steps, each in the order of the batches: their old bytes are read, proved and put in
 * the log; the log is flushed; they are written. While one batch is written, the next is flushed and the one after
 * it comes in. A step that fails is the last: nothing that waits for it begins.
 */
export class Applier {
  /** How many blocks came in. */
  blocks = 0;
  /** Whether it began to write: before that, the target is as it was. */
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
  /** The last of each kind of step. */
  private saved = Promise.resolve();
  private durable = Promise.resolve();
  private written = Promise.resolve();
  private writtenBefore = Promise.resolve();
  private flushed = Promise.resolve();
  /** Those that have not been written to their end. */
  private readonly batches = new Set([this.batch]);

  constructor(
    private readonly target: BlockDevice,
    private readonly options: ApplierOptions = {},
  ) {
    this.prover = new RunProver(target.path, options);
  }

  /** How many of the blocks were proved neither old nor new by what the target held. */
  get mismatches(): number {
    return this.prover.mismatches;
  }

  /** How many blocks and sections did not bear out that the target held the stream's base. */
  get doubts(): number {
    return this.prover.doubts;
  }

  /** Of those, how many held something else. */
  get failures(): number {
    return this.prover.failures;
  }

  /** How many blocks and sections still held the old bytes, where the new ones were expected. */
  get reverted(): number {
    return this.prover.reverted;
  }

  /** Says what the target must hold where the next block goes. */
  expect(proof: Proof): void {
    this.closeSection();
    this.proof = proof;
  }

  /**
   * Says that only the parts of this extent come that differ. They are written only where the target holds the old
   * bytes in all of it. Throws as `apply`.
   */
  async openSection(section: Section): Promise<void> {
    this.closeSection();
    this.proof = null;
    this.checkEnd(section);
    if (this.options.lendOld === undefined) throw new Error('a section that nobody can prove');
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
   * Takes a block over. Throws DeviceError, also for an earlier block; UnsafeTargetError past the target's end;
   * BaseMismatchError, before anything of the block's batch is written, where it is told to stop at one.
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
    // Only what ascends is known not to overlap what waits or is under way.
    if (block.offset < this.cursor) await this.drain();
    this.cursor = endOf(block);
    for (const piece of this.piecesOf(block)) {
      await this.add(piece, proof);
      if (this.isBatchFull) await this.closeBatch();
    }
  }

  /** All parts of a section are of one run: none is written before all of it was looked at. */
  private addPart(block: Block, section: Section): void {
    this.cursor = endOf(block);
    this.run?.add({ block, proof: null, section });
    this.batch.bytes += loanSize(block.length);
  }

  /** What comes next is no part of the section, if one is open. */
  closeSection(): void {
    if (this.section !== null) this.cursor = Math.max(this.cursor, endOf(this.section));
    this.section = null;
  }

  /** Writes what is left and flushes the target: from here on, all of it is on stable storage. */
  async finish(): Promise<void> {
    await this.drain();
    await this.flushed;
    // The log is its owner's again.
    await this.saved;
    await this.target.flush();
  }

  /**
   * As `finish`, in the middle: then the log, if there is one, says for good up to where it is; but not once anything
   * was wanted whole, as that lies below and has not come.
   */
  async checkpoint(place: Pick<ResumePoint, 'token' | 'changedBytes'>): Promise<void> {
    await this.finish();
    this.unflushedBytes = 0;
    const { log, wants } = this.options;
    if (wants?.hasAny === true) return;
    // Behind what else is still being put in the log.
    this.saved = this.steps.start([this.saved], async () => {
      const { mismatches, doubts } = this;
      await log?.markResumePoint({ ...place, mismatches, doubts });
    });
    await this.saved;
    this.steps.throwFailure();
  }

  /** Waits for what is under way and gives all memory back; for an apply that cannot go on. */
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

  /** What is saved must not be longer than a batch, or a torn log would not be told from a damaged one. */
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

  /** Starts to read what the target holds in a run's place, while earlier ones are still under way. */
  private async closeRun(): Promise<void> {
    const { run, batch, written } = this;
    if (run === null) return;
    this.run = null;
    const { lendOld } = this.options;
    if (run.use === 'read' && lendOld !== undefined) run.startReading(this.target, lendOld);
    // Without its own bytes alone, what is read around a run may be what earlier batches are still written to.
    const before = run.use === 'read' ? [this.saved] : [this.saved, written];
    this.saved = this.steps.start(before, () => this.saveAndProve(run, batch));
    if (run.sections.length === 0) return;
    this.proving.push(this.saved);
    // Its failure is met as any step's.
    if (this.proving.length > READS_AHEAD) await this.proving.shift()?.catch(() => undefined);
  }

  /** Sends a batch on its way; waits while two others are under way. */
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
    // One flush after the other: of two at once, the one that succeeds may have lost its error to the other.
    this.durable = this.steps.start([this.saved, durable], async () => log?.sync());
    this.written = this.steps.start([this.durable, written], () => this.write(batch));
    this.batch = new Batch(this.blocks);
    this.batches.add(this.batch);
    // What is in the log and not yet durable is bounded, and so is what waits to be written.
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

  /** @param failed what comes after a failed write is not written */
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

  /** Flushes the target beside what comes next, and lets the log say how far. */
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
