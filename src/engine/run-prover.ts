import { crc32, isZero } from '../bytes/contents.js';
import { BaseMismatchError } from '../errors.js';
import { ENTRY } from '../stream/batches/batch.js';
import { type BlockRun, NO_ENTRY, type OldBytesOfRun } from './block-run.js';
import type { Wants } from './wants.js';

/** Findings that contradict that a target held a stream's base. */
export interface FoundContents {
  /** Blocks that the target held neither old nor new. */
  readonly mismatches: number;
  /** Blocks and sections that did not confirm that it held the base. */
  readonly doubts: number;
  /** Audited pieces outside the changes that differed, and were sent in full. */
  readonly strays?: number;
  /** Blocks and sections that still held the old bytes although the target should have held the new ones. */
  readonly reverted?: number;
}

/** What to do if a target does not hold what it should. */
export interface ProofOptions {
  /** Stop at the first block whose old bytes do not match the stream's proof. */
  readonly stopOnMismatch?: boolean;
  /** Asks for sections in full if their proof fails; without it, the first of them stops the apply. */
  readonly wants?: Wants;
  /** What an earlier session of the same apply counted. */
  readonly foundBefore?: FoundContents;
  /** Whether a block without a proof counts as a doubt. */
  readonly mustBeProved?: boolean;
  /** Whether the target is recorded to hold the stream's result, so that old bytes contradict the record. */
  readonly expectsNew?: boolean;
}

/** Compares what a target holds in the place of runs with their proofs, before anything is written there. */
export class RunProver {
  /**
   * How many blocks were neither old nor new. Only blocks that came in full, so the target is right afterwards all the
   * same.
   */
  mismatches: number;
  /** How many blocks and sections did not confirm that the target held the stream's base. */
  doubts: number;
  /**
   * How many of the doubts held something else, and did not just come without a proof. All doubts of an earlier session
   * count.
   */
  failures: number;
  /** How many blocks and sections still held the old bytes although the new ones are expected. */
  reverted: number;

  constructor(
    /** The target's. */
    private readonly path: string,
    private readonly options: ProofOptions,
  ) {
    this.mismatches = options.foundBefore?.mismatches ?? 0;
    this.doubts = options.foundBefore?.doubts ?? 0;
    this.failures = this.doubts;
    this.reverted = options.foundBefore?.reverted ?? 0;
  }

  /**
   * Removes the parts of sections from a run that are not needed, or useless. Returns the checksums of the old bytes of
   * the remaining blocks, as far as they are known.
   *
   * @param blocksBefore how many blocks came in before the run's group
   * @throws BaseMismatchError if it must stop at a mismatch, or has no sender to ask
   */
  async prove(
    run: BlockRun,
    old: OldBytesOfRun | null,
    blocksBefore: number,
  ): Promise<(number | undefined)[]> {
    for (const section of run.sections) await this.proveSection(section, run, old, blocksBefore);
    const crcs: (number | undefined)[] = [];
    for (let block = 0; block < run.count; block++) crcs.push(this.proveBlock(block, run, old, blocksBefore));
    return crcs;
  }

  private proveBlock(
    block: number,
    run: BlockRun,
    old: OldBytesOfRun | null,
    blocksBefore: number,
  ): number | undefined {
    const voucher = run.voucherOf(block);
    const isProved = voucher !== NO_ENTRY && run.batch.kindAt(voucher) === ENTRY.proof;
    if (isProved && old !== null)
      return this.checkProof(block, run, old.of(run.extentOf(block)), blocksBefore);
    if (isProved || voucher === NO_ENTRY) this.doubts += this.options.mustBeProved === true ? 1 : 0;
    return undefined;
  }

  private async proveSection(
    section: number,
    run: BlockRun,
    old: OldBytesOfRun | null,
    blocksBefore: number,
  ): Promise<void> {
    const { batch } = run;
    const extent = batch.extentAt(section);
    const crc = old === null ? null : crc32(old.of(extent));
    if (crc === batch.crcAt(section)) {
      if (this.options.expectsNew === true && crc !== batch.newCrcAt(section)) this.reverted += 1;
      return;
    }
    this.doubts += 1;
    this.failures += 1;
    run.drop(section);
    // After an earlier run the new bytes may be there already.
    if (crc === batch.newCrcAt(section)) return;
    const { wants, stopOnMismatch } = this.options;
    if (wants !== undefined && stopOnMismatch !== true) await wants.ask(extent);
    else {
      const wayOut = 'only the parts that changed were sent; --whole-chunks sends all of it';
      throw this.mismatch(extent.offset, blocksBefore, wayOut);
    }
  }

  /**
   * A block that holds neither the old bytes nor, after an earlier run, the new ones is from another state of the
   * volume. Returns the old bytes' checksum.
   */
  private checkProof(block: number, run: BlockRun, old: Buffer, blocksBefore: number): number {
    const crc = crc32(old);
    const isData = run.kindOf(block) === ENTRY.data;
    if (crc === run.batch.crcAt(run.voucherOf(block))) {
      const isNew = !isData || run.bytesOf(block).equals(old);
      if (this.options.expectsNew === true && !isNew) this.reverted += 1;
      return crc;
    }
    this.doubts += 1;
    this.failures += 1;
    if (isData ? run.bytesOf(block).equals(old) : isZero(old)) return crc;
    this.mismatches += 1;
    if (this.options.stopOnMismatch !== true) return crc;
    throw this.mismatch(run.extentOf(block).offset, blocksBefore);
  }

  private mismatch(offset: number, blocksBefore: number, wayOut?: string): BaseMismatchError {
    const before = `(${blocksBefore} blocks were written before)`;
    const problem = `it does not hold the stream's base here ${before}`;
    return new BaseMismatchError(this.path, offset, wayOut === undefined ? problem : `${problem}: ${wayOut}`);
  }
}
