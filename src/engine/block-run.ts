import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { isZero, joinChecksums } from '../bytes/contents.js';
import type { Extent } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { type BlockBatch, ENTRY } from '../stream/batches/batch.js';
import { type AnnouncedWrites, MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { PieceToSave } from './undo-log.js';

/**
 * A gap between two blocks is read along with them if it is smaller than this, or than the next block: that is cheaper
 * than another read. Bytes.
 */
const SMALL_GAP = 16 * 1024;

/** Nothing vouches for a block. */
export const NO_ENTRY = -1;

/** Whether the old bytes in a run's place are read before it is written, to be saved or proved. */
export type OldBytesUse = 'read' | 'ignored';

/** What is written in one go: zeroes, a discard, or pieces of data that adjoin. */
export interface RunWrite extends Extent {
  /** One of ENTRY. */
  readonly kind: number;
  readonly pieces: readonly Buffer[];
}

/**
 * Neighbouring blocks of a batch, ascending, at most 1 MiB from end to end unless it is one block. Blocks are named by
 * their place in the run, 0 first. Holds its batch until it is released.
 */
export class BlockRun implements AnnouncedWrites {
  /** For each block its entry in the batch, its extent, and the entry of its proof or section, or NO_ENTRY. */
  private entries: number[] = [];
  private offsets: number[] = [];
  private lengths: number[] = [];
  private vouchers: number[] = [];
  /** The entries of its sections, which may have no blocks. */
  readonly sections: number[] = [];
  private old: Promise<LentBuffer> | null = null;
  private end: number;
  private isReleased = false;

  constructor(
    readonly batch: BlockBatch,
    readonly offset: number,
    readonly use: OldBytesUse,
  ) {
    this.end = offset;
    batch.hold();
  }

  get length(): number {
    return this.end - this.offset;
  }

  /** How many blocks it has. */
  get count(): number {
    return this.entries.length;
  }

  /** Whether a block or a section can be the next of this run. */
  hasRoomFor(offset: number, length: number, use: OldBytesUse): boolean {
    const gap = offset - this.end;
    const isSmall = gap <= Math.max(SMALL_GAP, length) && use === 'read';
    const isNear = gap === 0 || (gap > 0 && isSmall);
    return isNear && use === this.use && offset + length - this.offset <= MAX_BLOCK_LENGTH;
  }

  addSection(entry: number): void {
    this.sections.push(entry);
    this.end = this.batch.endAt(entry);
  }

  /** Adds a block, or a part of one of zeroes. */
  add(entry: number, { offset, length }: Extent, voucher: number): void {
    this.entries.push(entry);
    this.offsets.push(offset);
    this.lengths.push(length);
    this.vouchers.push(voucher);
    this.end = Math.max(this.end, offset + length);
  }

  /** One of ENTRY. */
  kindOf(block: number): number {
    return this.batch.kindAt(this.entries[block] ?? NaN);
  }

  extentOf(block: number): Extent {
    return { offset: this.offsetOf(block), length: this.lengthOf(block) };
  }

  *extents(): Generator<Extent> {
    for (let block = 0; block < this.count; block++) yield this.extentOf(block);
  }

  /** The entry of its proof or section, or NO_ENTRY. */
  voucherOf(block: number): number {
    return this.vouchers[block] ?? NO_ENTRY;
  }

  /** The data of a block. */
  bytesOf(block: number): Buffer {
    return this.batch.bytesAt(this.entries[block] ?? NaN);
  }

  offsetOf(block: number): number {
    return this.offsets[block] ?? NaN;
  }

  lengthOf(block: number): number {
    return this.lengths[block] ?? NaN;
  }

  /** The checksum of its data; null: it has none, and reads as zeroes. */
  crcOf(block: number): number | null {
    const entry = this.entries[block] ?? NaN;
    return this.batch.kindAt(entry) === ENTRY.data ? this.batch.crcAt(entry) : null;
  }

  /** Starts to read what the target holds in the run's place, gaps included. */
  startReading(target: BlockDevice, lend: LendBuffer): void {
    this.old = this.readOld(target, lend);
    // The failure is thrown when the old bytes are asked for, unless another error came first.
    this.old.catch(() => undefined);
  }

  private async readOld(target: BlockDevice, lend: LendBuffer): Promise<LentBuffer> {
    const lent = await lend(this.length);
    const read = (extent: Extent) => target.readAt(sliceOf(lent.bytes, this.offset, extent), extent.offset);
    try {
      await read(this).catch(async () => {
        // The bad sector may be in a gap, which is not needed. Otherwise this error names the affected block.
        for (let block = 0; block < this.count; block++) await read(this.extentOf(block));
        for (const entry of this.sections) await read(this.batch.extentAt(entry));
      });
      return lent;
    } catch (error) {
      lent.release();
      throw error;
    }
  }

  /** What the target held; null: it was not read. Throws DeviceError. */
  async oldBytes(): Promise<OldBytesOfRun | null> {
    const old = await this.old;
    return old === null ? null : new OldBytesOfRun(this.offset, old);
  }

  /** Gives back the memory of the old bytes. */
  async releaseOld(): Promise<void> {
    await this.old?.then(
      (old) => {
        old.release();
      },
      () => undefined,
    );
    this.old = null;
  }

  /** What to write, one after another: adjoining data together. */
  *writes(): Generator<RunWrite> {
    for (let first = 0; first < this.count;) {
      const { offset, length } = this.extentOf(first);
      const kind = this.kindOf(first);
      const pieces: Buffer[] = [];
      let end = offset + length;
      let next = first + 1;
      if (kind === ENTRY.data) {
        pieces.push(this.bytesOf(first));
        for (; this.kindOf(next) === ENTRY.data && this.offsets[next] === end; next++) {
          pieces.push(this.bytesOf(next));
          end += this.lengths[next] ?? NaN;
        }
      }
      yield { kind, offset, length: end - offset, pieces: joinAdjoining(pieces) };
      first = next;
    }
  }

  /** Drops the parts of a section. */
  drop(section: number): void {
    const kept = this.vouchers.map((voucher) => voucher !== section);
    const isKept = (_: number, block: number) => kept[block] === true;
    this.entries = this.entries.filter(isKept);
    this.offsets = this.offsets.filter(isKept);
    this.lengths = this.lengths.filter(isKept);
    this.vouchers = this.vouchers.filter(isKept);
  }

  /** Lets go of the batch. */
  release(): void {
    if (!this.isReleased) this.batch.release();
    this.isReleased = true;
  }
}

/** What the target held in a run's place. */
export class OldBytesOfRun {
  constructor(
    private readonly offset: number,
    private readonly lent: LentBuffer,
  ) {}

  of(extent: Extent): Buffer {
    return sliceOf(this.lent.bytes, this.offset, extent);
  }

  /**
   * The old bytes of the run's blocks. Adjacent ones are joined, but never zeroes with data.
   *
   * @param crcs of the old bytes of each block, as far as they are known
   */
  *pieces(run: BlockRun, crcs: readonly (number | undefined)[]): Generator<PieceToSave> {
    const { bytes } = this.lent;
    for (let block = 0; block < run.count;) {
      const offset = run.offsetOf(block);
      const start = offset - this.offset;
      let end = start + run.lengthOf(block);
      let crc = crcs[block];
      const isEmpty = isZero(bytes.subarray(start, end));
      for (block += 1; block < run.count && run.offsetOf(block) - this.offset === end; block++) {
        const length = run.lengthOf(block);
        if (isZero(bytes.subarray(end, end + length)) !== isEmpty) break;
        const next = crcs[block];
        crc = crc === undefined || next === undefined ? undefined : joinChecksums(crc, next, length);
        end += length;
      }
      yield { offset, length: end - start, bytes: bytes.subarray(start, end), crc, isEmpty };
    }
  }
}

/** The same bytes in fewer pieces, where some follow each other in memory. */
function joinAdjoining(pieces: readonly Buffer[]): Buffer[] {
  const joined: Buffer[] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    const follows =
      last !== undefined &&
      last.buffer === piece.buffer &&
      last.byteOffset + last.length === piece.byteOffset;
    if (follows) {
      joined[joined.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + piece.length);
    } else joined.push(piece);
  }
  return joined;
}

function sliceOf(bytes: Buffer, start: number, { offset, length }: Extent): Buffer {
  return bytes.subarray(offset - start, offset - start + length);
}
