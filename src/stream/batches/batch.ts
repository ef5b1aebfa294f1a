import type { LentBuffer } from '../../bytes/byte-channel.js';
import { type Extent, SECTOR } from '../../bytes/extent.js';
import { type Mark, MAX_BLOCK_LENGTH, type StreamItem } from '../block.js';

/** What an entry of a batch is. */
export const ENTRY = { data: 0, zero: 1, discard: 2, proof: 3, section: 4 } as const;

const KINDS = ['data', 'zero', 'discard', 'proof', 'section'] as const;

/** The most entries of a batch: room for a section whose every sector came alone, and for some more. */
export const BATCH_ENTRIES = MAX_BLOCK_LENGTH / SECTOR + 256;

/** The fields of the entries, one array each. They are used again, because new ones would have to be cleared. */
class Columns {
  readonly kinds = new Uint8Array(BATCH_ENTRIES);
  readonly offsets = new Float64Array(BATCH_ENTRIES);
  readonly lengths = new Float64Array(BATCH_ENTRIES);
  readonly crcs = new Uint32Array(BATCH_ENTRIES);
  readonly newCrcs = new Uint32Array(BATCH_ENTRIES);
  readonly starts = new Uint32Array(BATCH_ENTRIES);
}

const MOST_SPARE = 32;
const spare: Columns[] = [];

/** An entry to add. Bytes. */
export interface Entry extends Extent {
  readonly kind: (typeof KINDS)[number];
  /** CRC-32: of a block's data; of the bytes that a proof or a section expects in its place. */
  readonly crc?: number;
  /** Of a section: the CRC-32 of what is in its place afterwards. */
  readonly newCrc?: number;
  /** Where a block's data lies in the batch's memory. */
  readonly start?: number;
}

/**
 * Blocks in the order of their stream, with the proofs and sections before them: one array for each field, one memory
 * for all data. A proof comes in one batch with its block, and a section with all of its parts.
 *
 * A batch is released once by its taker, and once more for each call of `hold`. The last release gives its memory
 * back.
 */
export class BlockBatch {
  /** How many entries it has. */
  count = 0;
  /** The first entry that is still to be looked at. */
  first = 0;
  private readonly columns = spare.pop() ?? new Columns();
  private holders = 1;

  /** @param memory of all data; null: it has no data yet */
  constructor(public memory: LentBuffer | null = null) {}

  get isFull(): boolean {
    return this.count === BATCH_ENTRIES;
  }

  add({ kind, offset, length, crc = 0, newCrc = 0, start = 0 }: Entry): void {
    const { columns, count } = this;
    columns.kinds[count] = ENTRY[kind];
    columns.offsets[count] = offset;
    columns.lengths[count] = length;
    columns.crcs[count] = crc;
    columns.newCrcs[count] = newCrc;
    columns.starts[count] = start;
    this.count += 1;
  }

  /** Adds an entry of another batch, with its data at another place. */
  addFrom({ columns: from }: BlockBatch, index: number, start: number): void {
    const { columns: to, count } = this;
    to.kinds[count] = from.kinds[index] ?? NaN;
    to.offsets[count] = from.offsets[index] ?? NaN;
    to.lengths[count] = from.lengths[index] ?? NaN;
    to.crcs[count] = from.crcs[index] ?? NaN;
    to.newCrcs[count] = from.newCrcs[index] ?? NaN;
    to.starts[count] = start;
    this.count += 1;
  }

  /** Sets the checksum of a block's data. */
  setCrc(index: number, crc: number): void {
    this.columns.crcs[index] = crc;
  }

  /** One of ENTRY. */
  kindAt(index: number): number {
    return this.columns.kinds[index] ?? NaN;
  }

  isBlockAt(index: number): boolean {
    return this.kindAt(index) <= ENTRY.discard;
  }

  offsetAt(index: number): number {
    return this.columns.offsets[index] ?? NaN;
  }

  lengthAt(index: number): number {
    return this.columns.lengths[index] ?? NaN;
  }

  endAt(index: number): number {
    return this.offsetAt(index) + this.lengthAt(index);
  }

  extentAt(index: number): Extent {
    return { offset: this.offsetAt(index), length: this.lengthAt(index) };
  }

  /** Of a block's data, or of what a proof or a section expects. */
  crcAt(index: number): number {
    return this.columns.crcs[index] ?? NaN;
  }

  /** Of what is in a section's place afterwards. */
  newCrcAt(index: number): number {
    return this.columns.newCrcs[index] ?? NaN;
  }

  /** The data of a block: a part of the batch's memory. */
  bytesAt(index: number): Buffer {
    if (this.memory === null) throw new Error('a batch without data');
    const start = this.startAt(index);
    return this.memory.bytes.subarray(start, start + this.lengthAt(index));
  }

  /**
   * How many blocks are left in it, and their bytes; and the most bytes that could be written up to any entry, where a
   * section may be written in full.
   */
  sum(): { readonly blocks: number; readonly bytes: number; readonly mostBytes: number } {
    let [blocks, bytes, mostBytes] = [0, 0, 0];
    for (let entry = this.first; entry < this.count; entry++) {
      const isBlock = this.isBlockAt(entry);
      const isSection = this.kindAt(entry) === ENTRY.section;
      if (isBlock) blocks += 1;
      if (isBlock) bytes += this.lengthAt(entry);
      mostBytes = Math.max(mostBytes, bytes + (isSection ? this.lengthAt(entry) : 0));
    }
    return { blocks, bytes, mostBytes };
  }

  /** Where the data of a block lies in the batch's memory. Bytes. */
  startAt(index: number): number {
    return this.columns.starts[index] ?? NaN;
  }

  /** An entry as an object, which must not be used once the batch is released. */
  itemAt(index: number): Exclude<StreamItem, Mark> {
    const kind = KINDS[this.kindAt(index)] ?? 'data';
    const extent = this.extentAt(index);
    const crc = this.crcAt(index);
    switch (kind) {
      case 'data':
        return { kind, ...extent, data: { bytes: this.bytesAt(index), release: () => undefined }, crc };
      case 'proof':
        return { kind, ...extent, crc };
      case 'section':
        return { kind, ...extent, oldCrc: crc, newCrc: this.newCrcAt(index) };
      default:
        return { kind, ...extent };
    }
  }

  /** Whether a block belongs to a section before it. */
  isPartOf(entry: number, section: number): boolean {
    const isInside =
      this.offsetAt(entry) >= this.offsetAt(section) && this.endAt(entry) <= this.endAt(section);
    return isInside && this.isBlockAt(entry);
  }

  /**
   * The same in the smallest batches that there can be, each to be released: a block with its proof, or a section with
   * its parts. Releases this one at the end.
   */
  *parts(): Generator<BlockBatch> {
    try {
      while (this.first < this.count) {
        const start = this.first;
        let end = start + 1;
        if (this.kindAt(start) === ENTRY.section)
          while (end < this.count && this.isPartOf(end, start)) end += 1;
        else if (this.kindAt(start) === ENTRY.proof && end < this.count) end += 1;
        this.first = end;
        yield this.copyOf(start, end);
      }
    } finally {
      this.release();
    }
  }

  /** Some of the entries, in the same memory. */
  private copyOf(start: number, end: number): BlockBatch {
    const { memory } = this;
    if (memory !== null) this.hold();
    const release = () => {
      this.release();
    };
    const copy = new BlockBatch(memory === null ? null : { bytes: memory.bytes, release });
    for (let entry = start; entry < end; entry++) copy.addFrom(this, entry, this.startAt(entry));
    return copy;
  }

  /** Has to be released once more. */
  hold(): void {
    this.holders += 1;
  }

  release(): void {
    this.holders -= 1;
    if (this.holders > 0) return;
    // Two batches that share their fields would mix up what is written.
    if (this.holders < 0) throw new Error('a batch that was released already');
    this.memory?.release();
    this.memory = null;
    if (spare.length < MOST_SPARE) spare.push(this.columns);
  }
}

/** The items of batches as objects; the data of an item is valid until the next is asked for. */
export async function* eachItem(batches: AsyncIterable<BlockBatch | Mark>): AsyncGenerator<StreamItem> {
  for await (const batch of batches) {
    if (!(batch instanceof BlockBatch)) {
      yield batch;
      continue;
    }
    try {
      for (; batch.first < batch.count; batch.first++) yield batch.itemAt(batch.first);
    } finally {
      batch.release();
    }
  }
}
