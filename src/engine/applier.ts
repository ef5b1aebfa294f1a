import pLimit from 'p-limit';
import type { LendBuffer } from '../bytes/byte-channel.js';
import { type Extent, splitExtents } from '../bytes/extent.js';
import { StepsUnderWay } from '../codec/work-ahead.js';
import type { BlockDevice } from '../device/block-device.js';
import { UnsafeTargetError } from '../errors.js';
import { loanSize } from '../memory/aligned-memory.js';
import { type BlockBatch, ENTRY } from '../stream/batches/batch.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { ResumePoint } from '../stream/mark-format.js';
import { BlockRun, NO_ENTRY, type OldBytesOfRun, type OldBytesUse, type RunWrite } from './block-run.js';
import { RunProver, type ProofOptions } from './run-prover.js';
import type { UndoLog } from './undo-log.js';

/** Writes under way at once. */
const WRITES_AHEAD = 4;
/**
 * The most that waits until its old bytes are saved and flushed: three such groups fit in any receiver's pool. Bytes.
 */
const SAVED_GROUP_BYTES = 8 * 1024 * 1024;
const GROUP_BYTES = 1024 * 1024;
/**
 * Runs whose old bytes are being read, or wait for memory for that. Needed because sections may come without a block.
 */
const READS_AHEAD = 16;
/** The most runs of a group: a run of unchanged sections uses no block memory, but some memory. */
const GROUP_RUNS = 4096;
const CHECKPOINT_BYTES = 128 * 1024 * 1024;

/** What an applier does besides writing. */
export interface ApplierOptions extends ProofOptions {
  /** Saves the old bytes, on stable storage, before they are overwritten. */
  readonly log?: UndoLog;
  /** Lends memory for old bytes, 1 MiB or more. Needed with a log, and for proofs. */
  readonly lendOld?: LendBuffer;
  /** How much is saved with one flush of the log before it is written. Bytes. */
  readonly groupBytes?: number;
  /**
   * How much is written between two flushes of the target. A crash may tear blocks that were written after the last
   * one. Bytes.
   */
  readonly checkpointBytes?: number;
}

/** Runs that are saved with one flush before they are written. */
class RunGroup {
  readonly runs: BlockRun[] = [];
  /** How much lent memory their batches have. */
  bytes = 0;
  /** How many writes the log has announced, including these. */
  announced = 0;

  /** @param blocksBefore how many blocks came in before its first block */
  constructor(readonly blocksBefore: number) {}
}

/**
 * Writes blocks to a target: the only writer of targets. With a log, the old bytes of a group of runs are on stable
 * storage before the first of them is overwritten.
 *
 * Groups go through three steps, each in their order: their old bytes are read, proved and put in the log; the log is
 * flushed; they are written. While one group is written, the next is flushed and a third comes in.
 * After a failed step, nothing that waits for it begins.
 */
export class Applier {
  /** How many blocks came in. */
  blocks = 0;
  /** Whether it began to write. Before that, the target is unchanged. */
  hasWritten = false;
  private group = new RunGroup(0);
  private run: BlockRun | null = null;
  /** Up to where blocks came. */
  private cursor = 0;
  /** The memory that was counted last: batches that follow each other may share one. */
  private counted: BlockBatch['memory'] = null;
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
  /** The groups that are not completely written. */
  private readonly groups = new Set([this.group]);

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

  /**
   * Accepts a batch and releases it, sooner or later. Blocks of a section are written only if the target holds what the
   * section says in all of its extent. Throws DeviceError, also for an earlier batch; UnsafeTargetError past the target's
   * end; BaseMismatchError, before anything of the block's group is written, if it must stop at a mismatch.
   */
  async apply(batch: BlockBatch): Promise<void> {
    try {
      this.count(batch);
      await this.addAll(batch);
      await this.closeRun();
      if (this.isGroupFull) await this.closeGroup();
    } finally {
      batch.release();
    }
    this.steps.throwFailure();
  }

  private count({ memory }: BlockBatch): void {
    if (memory === null || memory === this.counted) return;
    this.counted = memory;
    this.group.bytes += loanSize(memory.bytes.length);
  }

  private async addAll(batch: BlockBatch): Promise<void> {
    let section = NO_ENTRY;
    let proof = NO_ENTRY;
    for (let entry = batch.first; entry < batch.count; entry++) {
      if (section !== NO_ENTRY && !batch.isPartOf(entry, section)) {
        this.cursor = Math.max(this.cursor, batch.endAt(section));
        section = NO_ENTRY;
      }
      const kind = batch.kindAt(entry);
      if (kind === ENTRY.proof) proof = entry;
      else if (kind === ENTRY.section) {
        await this.addSection(batch, entry);
        section = entry;
      } else {
        this.blocks += 1;
        this.checkEnd(batch.extentAt(entry));
        if (section !== NO_ENTRY) this.addPart(batch, entry, section);
        else await this.addWhole(batch, entry, isSameExtent(batch, proof, entry) ? proof : NO_ENTRY);
        proof = NO_ENTRY;
      }
      this.steps.throwFailure();
    }
    if (section !== NO_ENTRY) this.cursor = Math.max(this.cursor, batch.endAt(section));
  }

  /** Opens an extent whose differing parts alone follow. */
  private async addSection(batch: BlockBatch, entry: number): Promise<void> {
    const { offset, length } = batch.extentAt(entry);
    this.checkEnd({ offset, length });
    if (this.options.lendOld === undefined) throw new Error('a section that cannot be proved');
    if (offset < this.cursor) await this.drain();
    await this.makeRoom(offset, length, 'read');
    this.run ??= this.openRun(batch, offset, 'read');
    this.run.addSection(entry);
    this.cursor = offset;
  }

  /** All parts of a section go to one run, so that no part is written before the whole section is checked. */
  private addPart(batch: BlockBatch, entry: number, section: number): void {
    this.cursor = batch.endAt(entry);
    this.run?.add(entry, batch.extentAt(entry), section);
  }

  private async addWhole(batch: BlockBatch, entry: number, proof: number): Promise<void> {
    const extent = batch.extentAt(entry);
    this.options.wants?.take(extent);
    // Only ascending blocks are known not to overlap blocks that wait or are being written.
    if (extent.offset < this.cursor) await this.drain();
    this.cursor = batch.endAt(entry);
    const { log, lendOld } = this.options;
    // A saved piece must not be longer than a group: otherwise a torn log could not be told from a damaged one.
    const isWhole = log === undefined || extent.length <= MAX_BLOCK_LENGTH;
    for (const piece of isWhole ? [extent] : splitExtents([extent], MAX_BLOCK_LENGTH)) {
      const isNeeded = proof !== NO_ENTRY || log?.isWhole(piece) === true;
      const use: OldBytesUse = isNeeded && lendOld !== undefined ? 'read' : 'ignored';
      await this.makeRoom(piece.offset, piece.length, use);
      this.run ??= this.openRun(batch, piece.offset, use);
      this.run.add(entry, piece, proof);
      if (!isWhole) this.group.bytes += piece.length;
      if (!isWhole && this.isGroupFull) await this.closeGroup();
    }
  }

  /** Ends the run that an extent does not fit in, and a group that has all of its runs. */
  private async makeRoom(offset: number, length: number, use: OldBytesUse): Promise<void> {
    if (this.run?.hasRoomFor(offset, length, use) !== false) return;
    await this.closeRun();
    if (this.group.runs.length >= GROUP_RUNS) await this.closeGroup();
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
    for (const { runs } of this.groups) {
      for (const run of runs) {
        run.release();
        await run.releaseOld();
      }
    }
    this.groups.clear();
  }

  private get isGroupFull(): boolean {
    return this.group.bytes >= this.groupBytes || this.group.runs.length >= GROUP_RUNS;
  }

  private get groupBytes(): number {
    return this.options.groupBytes ?? (this.options.log === undefined ? GROUP_BYTES : SAVED_GROUP_BYTES);
  }

  private openRun(batch: BlockBatch, offset: number, use: OldBytesUse): BlockRun {
    const run = new BlockRun(batch, offset, use);
    this.group.runs.push(run);
    return run;
  }

  /** Starts to read what the target holds in the place of a run, while earlier runs are still being processed. */
  private async closeRun(): Promise<void> {
    const { run, group, written } = this;
    if (run === null) return;
    this.run = null;
    const { lendOld } = this.options;
    if (run.use === 'read' && lendOld !== undefined) run.startReading(this.target, lendOld);
    // Old bytes that are not read here are read in whole blocks, which earlier groups may still be writing to.
    const before = run.use === 'read' ? [this.saved] : [this.saved, written];
    this.saved = this.steps.start(before, () => this.saveAndProve(run, group));
    if (run.sections.length === 0) return;
    this.proving.push(this.saved);
    // A failure is thrown with those of all steps.
    if (this.proving.length > READS_AHEAD) await this.proving.shift()?.catch(() => undefined);
  }

  /** Starts to process a group. Waits while two others are being processed. */
  private async closeGroup(): Promise<void> {
    await this.closeRun();
    const { group, durable, written } = this;
    const { log } = this.options;
    if (group.runs.length === 0) return;
    this.saved = this.steps.start([this.saved], async () => {
      group.announced = log?.announced ?? 0;
      await log?.handOver();
    });
    // One flush at a time: of two at once, one may report an error and the other success.
    this.durable = this.steps.start([this.saved, durable], async () => log?.sync());
    this.written = this.steps.start([this.durable, written], () => this.write(group));
    this.group = new RunGroup(this.blocks);
    this.groups.add(this.group);
    // Limits how much of the log is not durable yet, and how much waits to be written.
    await durable;
    await this.writtenBefore;
    this.writtenBefore = written;
  }

  private async drain(): Promise<void> {
    await this.closeGroup();
    await this.written;
  }

  private async saveAndProve(run: BlockRun, { blocksBefore }: RunGroup): Promise<void> {
    const old = await run.oldBytes();
    const oldCrcs = await this.prover.prove(run, old, blocksBefore);
    const { log } = this.options;
    if (log !== undefined && run.count > 0) await this.save(log, run, old, oldCrcs);
    await run.releaseOld();
  }

  private async save(
    log: UndoLog,
    run: BlockRun,
    old: OldBytesOfRun | null,
    oldCrcs: readonly (number | undefined)[],
  ): Promise<void> {
    await log.save(this.target, old === null ? run.extents() : old.pieces(run, oldCrcs), run);
  }

  private async write(group: RunGroup): Promise<void> {
    const limit = pLimit(WRITES_AHEAD);
    const failed = new AbortController();
    const write = async (run: BlockRun) => {
      await this.writeRun(run, failed.signal).catch((error: unknown) => {
        failed.abort(error);
      });
    };
    await limit.map(group.runs, write);
    failed.signal.throwIfAborted();
    this.groups.delete(group);
    await this.flushNowAndThen(group);
  }

  /** @param failed aborted by a failed write: nothing after it is written */
  private async writeRun(run: BlockRun, failed: AbortSignal): Promise<void> {
    try {
      for (const each of run.writes()) {
        failed.throwIfAborted();
        await this.writeOne(each);
        this.unflushedBytes += each.length;
      }
    } finally {
      run.release();
    }
  }

  private async writeOne({ kind, offset, length, pieces }: RunWrite): Promise<void> {
    this.hasWritten = true;
    if (kind === ENTRY.zero) await this.target.zero(offset, length);
    else if (kind === ENTRY.discard) await this.target.discard(offset, length);
    else await this.target.writePiecesAt(pieces, offset);
  }

  /** Flushes the target while the next group is processed, and then notes in the log how far it is flushed. */
  private async flushNowAndThen({ announced }: RunGroup): Promise<void> {
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

function isSameExtent(batch: BlockBatch, one: number, other: number): boolean {
  return batch.offsetAt(one) === batch.offsetAt(other) && batch.lengthAt(one) === batch.lengthAt(other);
}
