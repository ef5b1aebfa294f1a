import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { joinChecksums, isZero } from '../bytes/contents.js';
import { endOf, type Extent } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { type Block, MAX_BLOCK_LENGTH, type Proof, type Section } from '../stream/block.js';
import type { KnownBytes } from './undo-log.js';

/**
 * A gap between two blocks is read along with them if it is smaller than this, or than the next block: that is cheaper
 * than another read. Bytes.
 */
const SMALL_GAP = 16 * 1024;

/** A block that waits to be written, and what the target must hold in its place. */
export interface Waiting {
  readonly block: Block;
  readonly proof: Proof | null;
  /** The section that it is a part of. */
  readonly section: Section | null;
}

/** Whether the old bytes in a run's place are read before it is written, to be saved or proved. */
export type OldBytesUse = 'read' | 'ignored';

/** Neighbouring blocks, ascending, at most 1 MiB from end to end unless it is one block. */
export class BlockRun {
  /** The blocks, and in `sections` the sections that they belong to. A section may have no blocks. */
  readonly waiting: Waiting[] = [];
  readonly sections: Section[] = [];
  private old: Promise<LentBuffer> | null = null;
  private end: number;

  constructor(
    readonly offset: number,
    readonly use: OldBytesUse,
  ) {
    this.end = offset;
  }

  get length(): number {
    return this.end - this.offset;
  }

  /** Whether a block or a section can be the next of this run. */
  hasRoomFor(next: Extent, use: OldBytesUse): boolean {
    const gap = next.offset - this.end;
    const isSmall = gap <= Math.max(SMALL_GAP, next.length) && use === 'read';
    const isNear = gap === 0 || (gap > 0 && isSmall);
    return isNear && use === this.use && endOf(next) - this.offset <= MAX_BLOCK_LENGTH;
  }

  addSection(section: Section): void {
    this.sections.push(section);
    this.end = endOf(section);
  }

  add(waiting: Waiting): void {
    this.waiting.push(waiting);
    this.end = Math.max(this.end, endOf(waiting.block));
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
        for (const { block } of this.waiting) await read(block);
        for (const section of this.sections) await read(section);
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

  /** Blocks that can be written in one go: data without gaps, or a single block of zeroes. Each is taken once. */
  *takeWrites(): Generator<readonly Block[]> {
    for (let first = this.waiting.shift(); first !== undefined; first = this.waiting.shift()) {
      const blocks = [first.block];
      let last = first.block;
      for (let next = this.waiting[0]; next && canFollow(last, next.block); next = this.waiting[0]) {
        this.waiting.shift();
        blocks.push(next.block);
        last = next.block;
      }
      yield blocks;
    }
  }

  /** Drops the parts of a section. */
  drop(section: Section): void {
    const kept: Waiting[] = [];
    for (const waiting of this.waiting) {
      if (waiting.section === section) releaseBlock(waiting.block);
      else kept.push(waiting);
    }
    this.waiting.splice(0, this.waiting.length, ...kept);
  }

  /** Gives back the memory of the blocks that were not taken. */
  releaseBlocks(): void {
    for (const { block } of this.waiting.splice(0)) releaseBlock(block);
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

  /** The old bytes of these blocks. Adjacent ones are joined, but never zeroes with data. */
  *pieces(blocks: readonly Block[], crcs: readonly (number | undefined)[]): Generator<KnownBytes> {
    let open: (Extent & { crc: number | undefined; isEmpty: boolean }) | null = null;
    for (const [index, { offset, length }] of blocks.entries()) {
      const isEmpty = isZero(this.of({ offset, length }));
      const crc = crcs[index];
      if (open !== null && endOf(open) === offset && open.isEmpty === isEmpty) {
        const joined: number | undefined =
          open.crc === undefined || crc === undefined ? undefined : joinChecksums(open.crc, crc, length);
        open = { offset: open.offset, length: open.length + length, crc: joined, isEmpty };
        continue;
      }
      if (open !== null) yield this.known(open, open.crc);
      open = { offset, length, crc, isEmpty };
    }
    if (open !== null) yield this.known(open, open.crc);
  }

  private known(extent: Extent, crc: number | undefined): KnownBytes {
    return { offset: extent.offset, bytes: this.of(extent), crc };
  }
}

export function releaseBlock(block: Block): void {
  if (block.kind === 'data') block.data.release();
}

function canFollow(last: Block, next: Block): boolean {
  return last.kind === 'data' && next.kind === 'data' && endOf(last) === next.offset;
}

function sliceOf(bytes: Buffer, start: number, { offset, length }: Extent): Buffer {
  return bytes.subarray(offset - start, offset - start + length);
}
