import { crc32 } from 'node:zlib';
import pLimit from 'p-limit';
import type { LendBuffer } from '../byte-channel.js';
import { loanSize } from '../device/aligned-memory.js';
import type { BlockDevice } from '../device/block-device.js';
import { isZero } from '../device/zero-test.js';
import { BaseMismatchError, UnsafeTargetError } from '../errors.js';
import { endOf, splitExtents } from '../extent.js';
import type { Block } from '../stream/block.js';
import { MAX_BLOCK_LENGTH, type Announcement, type Proof } from '../stream/frame-format.js';
import { BlockRun, releaseBlock, type OldBytesOfRun, type OldBytesUse } from './block-run.js';
import { StepsUnderWay } from './steps-under-way.js';
import type { ResumePoint } from '../stream/mark-format.js';
import type { UndoLog } from './undo-log.js';

/** Writes under way at once. */
const WRITES_AHEAD = 4;
/** How much may wait until its old bytes are saved and flushed: three such batches fit in any receiver's pool. */
const SAVED_BATCH_BYTES = 8 * 1024 * 1024;
const BATCH_BYTES = 1024 * 1024;
const CHECKPOINT_BYTES = 128 * 1024 * 1024;

/** What an applier does beside writing. */
export interface ApplierOptions {
  /** Saves the old bytes, on stable storage, before they are overwritten. */
  readonly log?: UndoLog;
  /** Lends memory for old bytes, 1 MiB or more: where there is a log, or proofs come. */
  readonly lendOld?: LendBuffer;
  /** Stop at the first block whose old bytes are not what the stream's proof says. */
  readonly stopOnMismatch?: boolean;
  /** How much is saved with one flush of the log, and only then written. Bytes. */
  readonly batchBytes?: number;
  /** How much is written between two flushes of the target: past the last one, a crash may tear blocks. Bytes. */
  readonly checkpointBytes?: number;
  /** What an earlier session of the same apply counted. */
  readonly mismatchesBefore?: number;
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
  /** How many of them were proved neither old nor new by what the target held. */
  mismatches: number;
  /** Whether it began to write: before that, the target is as it was. */
  hasWritten = false;
  private batch = new Batch(0);
  private run: BlockRun | null = null;
  private cursor = 0;
  private proof: Proof | null = null;
  private unflushedBytes = 0;
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
    this.mismatches = options.mismatchesBefore ?? 0;
  }

  /** Says what the target must hold where the next block goes. */
  expect(proof: Proof): void {
    this.proof = proof;
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
    if (endOf(block) > this.target.size) {
      releaseBlock(block);
      throw this.pastEnd(block);
    }
    // Only what ascends is known not to overlap what waits or is under way.
    if (offset < this.cursor) await this.drain();
    this.cursor = endOf(block);
    for (const piece of this.piecesOf(block)) {
      this.add(piece, proof);
      if (this.batch.bytes >= this.batchBytes) await this.closeBatch();
    }
    this.steps.throwFailure();
  }

  /** Writes what is left and flushes the target: from here on, all of it is on stable storage. */
  async finish(): Promise<void> {
    await this.drain();
    await this.flushed;
    // The log is its owner's again.
    await this.saved;
    await this.target.flush();
  }

  /** As `finish`, in the middle: then the log, if there is one, says for good up to where it is. */
  async checkpoint(place: Omit<ResumePoint, 'mismatches'>): Promise<void> {
    await this.finish();
    this.unflushedBytes = 0;
    const { log } = this.options;
    // Behind what else is still being put in the log.
    this.saved = this.steps.start([this.saved], async () => {
      await log?.markResumePoint({ ...place, mismatches: this.mismatches });
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

  private get batchBytes(): number {
    return this.options.batchBytes ?? (this.options.log === undefined ? BATCH_BYTES : SAVED_BATCH_BYTES);
  }

  /** What is saved must not be longer than a batch, or a torn log would not be told from a damaged one. */
  private *piecesOf(block: Block): Generator<Block> {
    const { log } = this.options;
    if (log === undefined || block.kind === 'data' || block.length <= MAX_BLOCK_LENGTH) yield block;
    else for (const extent of splitExtents([block], MAX_BLOCK_LENGTH)) yield { kind: block.kind, ...extent };
  }

  private add(block: Block, proof: Proof | null): void {
    const { log, lendOld } = this.options;
    const isNeeded = proof !== null || log?.isWhole(block) === true;
    const use: OldBytesUse = isNeeded && lendOld !== undefined ? 'read' : 'ignored';
    if (this.run?.hasRoomFor(block, use) === false) this.closeRun();
    this.run ??= this.openRun(block.offset, use);
    this.run.add({ block, proof });
    this.batch.bytes += loanSize(block.length);
  }

  private openRun(offset: number, use: OldBytesUse): BlockRun {
    const run = new BlockRun(offset, use);
    this.batch.runs.push(run);
    return run;
  }

  /** Starts to read what the target holds in a run's place, while earlier ones are still under way. */
  private closeRun(): void {
    const { run, batch, written } = this;
    if (run === null) return;
    this.run = null;
    const { lendOld } = this.options;
    if (run.use === 'read' && lendOld !== undefined) run.startReading(this.target, lendOld);
    // Without its own bytes alone, what is read around a run may be what earlier batches are still written to.
    const before = run.use === 'read' ? [this.saved] : [this.saved, written];
    this.saved = this.steps.start(before, () => this.saveAndProve(run, batch));
  }

  /** Sends a batch on its way; waits while two others are under way. */
  private async closeBatch(): Promise<void> {
    this.closeRun();
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
    const oldCrcs = run.waiting.map(({ block, proof }) =>
      proof === null || old === null ? undefined : this.checkProof(block, proof, old.of(block), blocksBefore),
    );
    const { log } = this.options;
    if (log !== undefined) await this.save(log, run, old, oldCrcs);
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

  /**
   * What is neither the old bytes nor, after an earlier run, the new ones, is another state of the volume. Returns
   * the old bytes' checksum.
   */
  private checkProof(block: Block, proof: Proof, old: Buffer, blocksBefore: number): number {
    const crc = crc32(old);
    if (crc === proof.crc) return crc;
    if (block.kind === 'data' ? block.data.bytes.equals(old) : isZero(old)) return crc;
    this.mismatches += 1;
    if (this.options.stopOnMismatch !== true) return crc;
    throw new BaseMismatchError(
      this.target.path,
      block.offset,
      `it does not hold what the stream's base holds here (${blocksBefore} blocks were written before)`,
    );
  }

  private async write(batch: Batch): Promise<void> {
    const limit = pLimit(WRITES_AHEAD);
    const failed = new AbortController();
    const write = async (blocks: readonly Block[]) => {
      await this.writeTogether(blocks, failed.signal).catch((error: unknown) => {
        failed.abort(error);
      });
    };
    this.hasWritten = true;
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

  private pastEnd({ offset, length }: Block): UnsafeTargetError {
    const { path, size } = this.target;
    const problem = `a block of ${length} bytes at byte ${offset} lies past its end (${size} bytes)`;
    return new UnsafeTargetError(path, problem);
  }
}

function announcementOf(block: Block): Announcement {
  const { kind, offset, length } = block;
  const crc = kind === 'data' ? (block.crc ?? crc32(block.data.bytes)) : 0;
  return { offset, length, zeroes: kind !== 'data', crc };
}

function* takeWrites({ runs }: Batch): Generator<readonly Block[]> {
  for (const run of runs) yield* run.takeWrites();
}
