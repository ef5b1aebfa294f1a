import type { LendBuffer, LentBuffer } from '../../bytes/byte-channel.js';
import { crc32 } from '../../bytes/contents.js';
import { endOf } from '../../bytes/extent.js';
import { BlockBatch, ENTRY, type Entry } from './batch.js';
import { type Mark, MAX_BLOCK_LENGTH } from '../block.js';
import type { CompressedBlock, PackedItem } from '../unpack-blocks.js';

/** How much of the volume a batch may cover, so that the target is read soon after the stream. Bytes. */
const COVERED = 4 * MAX_BLOCK_LENGTH;

type UnmarkedItem = Exclude<PackedItem, Mark>;

/** A batch, and the blocks whose data in it is still compressed, by their entries. */
export interface GatheredBatch {
  readonly batch: BlockBatch;
  readonly packed: ReadonlyMap<number, CompressedBlock>;
}

/** Memory that several batches may use, one after another. */
class Room implements LentBuffer {
  private holders = 1;

  constructor(private readonly lent: LentBuffer) {}

  get bytes(): Buffer {
    return this.lent.bytes;
  }

  hold(): this {
    this.holders += 1;
    return this;
  }

  release(): void {
    this.holders -= 1;
    if (this.holders === 0) this.lent.release();
  }
}

/** Fills batches: lends memory for the data of the next item, and takes the item in. */
export class BatchFiller {
  private batch = new BlockBatch();
  private packed = new Map<number, CompressedBlock>();
  /** Where data goes, and how much of it is used. */
  private room: Room | null = null;
  private used = 0;
  private coveredBytes = 0;
  private dataBytes = 0;
  /** The entry of the section that the next block may be a part of; null: no section is open. */
  private sectionEntry: number | null = null;

  /** @param lendRoom lends 1 MiB at a time */
  constructor(private readonly lendRoom: LendBuffer) {}

  /** Lends memory for the data of the item that is put next. It comes back with its batch, or at once by `release`. */
  readonly lend: LendBuffer = async (length) => {
    if (!this.hasPlace(length)) await this.makePlace();
    const start = this.takePlace(length);
    const release = () => {
      this.used = start;
    };
    return { bytes: this.memory.subarray(start, this.used), release };
  };

  /** The memory that data goes into. */
  get memory(): Buffer {
    if (this.room === null) throw new Error('no memory was lent for data');
    return this.room.bytes;
  }

  /** Whether so much data fits in the memory. */
  hasPlace(length: number): boolean {
    return this.room !== null && this.used + length <= this.room.bytes.length;
  }

  /** Waits for other memory. */
  async makePlace(): Promise<void> {
    this.room?.release();
    this.room = null;
    this.room = new Room(await this.lendRoom(MAX_BLOCK_LENGTH));
    this.used = 0;
  }

  /** Takes the next bytes of the memory for the data of the entry that is put next. Returns where they start. */
  takePlace(length: number): number {
    const start = this.used;
    this.used += length;
    return start;
  }

  /**
   * Takes in an entry whose data, if it has any, is in the memory, as `packed` if it is compressed. Returns the batch
   * that is full without it.
   */
  put(entry: Entry, packed: CompressedBlock | null = null): GatheredBatch | null {
    const isPart = this.isPart(entry);
    if (!isPart) this.sectionEntry = null;
    const full = this.fits(entry, isPart) ? null : this.close();
    if (entry.kind === 'section') this.sectionEntry = this.batch.count;
    this.add(entry, packed);
    if (!isPart) this.coveredBytes += entry.length;
    return full;
  }

  /** The same of an item whose data, if it has any, is in the memory lent last. */
  putItem(item: UnmarkedItem): GatheredBatch | null {
    if (item.kind === 'section') return this.put({ ...item, crc: item.oldCrc });
    if (item.kind !== 'data' && item.kind !== 'packed') return this.put(item);
    const { offset, length, data } = item;
    const start = data.bytes.byteOffset - this.memory.byteOffset;
    if (item.kind === 'packed') return this.put({ kind: 'data', offset, length, start }, item);
    return this.put({ kind: 'data', offset, length, start, crc: item.crc ?? crc32(data.bytes) });
  }

  /**
   * Ends the batch; null if it is empty. A section that is still open, and a proof that waits for its block, go to the
   * next one.
   */
  close(): GatheredBatch | null {
    const { batch, packed, sectionEntry } = this;
    const last = batch.count - 1;
    const endsInProof = last >= 0 && batch.kindAt(last) === ENTRY.proof;
    const end = sectionEntry ?? (endsInProof ? last : batch.count);
    this.begin();
    for (let entry = end; entry < batch.count; entry++) this.move(batch, entry, packed);
    if (sectionEntry !== null) this.sectionEntry = 0;
    batch.count = end;
    if (end > 0) return { batch, packed };
    batch.release();
    return null;
  }

  /** Ends the batch, with all that is in it. */
  closeAll(): GatheredBatch | null {
    const { batch, packed } = this;
    if (batch.count === 0) return null;
    this.begin();
    return { batch, packed };
  }

  /** Gives back what was not taken. */
  drop(): void {
    this.room?.release();
    this.room = null;
    this.batch.release();
  }

  private begin(): void {
    this.batch = new BlockBatch();
    this.packed = new Map();
    [this.coveredBytes, this.dataBytes, this.sectionEntry] = [0, 0, null];
  }

  private isPart(item: Entry): boolean {
    const { batch, sectionEntry } = this;
    if (sectionEntry === null || item.kind === 'section' || item.kind === 'proof') return false;
    return item.offset >= batch.offsetAt(sectionEntry) && endOf(item) <= batch.endAt(sectionEntry);
  }

  private fits(item: Entry, isPart: boolean): boolean {
    const { batch, room, coveredBytes } = this;
    if (batch.isFull) return false;
    if (!isPart && coveredBytes > 0 && coveredBytes + item.length > COVERED) return false;
    if (item.kind !== 'data') return true;
    const isInMemory = batch.memory === null || batch.memory === room;
    return isInMemory && this.dataBytes + item.length <= MAX_BLOCK_LENGTH;
  }

  private add(entry: Entry, packed: CompressedBlock | null): void {
    if (packed !== null) this.packed.set(this.batch.count, packed);
    if (entry.kind === 'data') this.countData(entry.length);
    this.batch.add(entry);
  }

  private countData(length: number): void {
    this.batch.memory ??= this.room?.hold() ?? null;
    this.dataBytes += length;
  }

  /** Moves an entry of a batch that ends to the one that begins, its data too if it is in other memory. */
  private move(from: BlockBatch, entry: number, packed: Map<number, CompressedBlock>): void {
    const kind = from.kindAt(entry);
    if (kind === ENTRY.section || kind === ENTRY.proof) this.coveredBytes += from.lengthAt(entry);
    if (kind !== ENTRY.data) {
      this.batch.addFrom(from, entry, 0);
      return;
    }
    const stored = packed.get(entry);
    packed.delete(entry);
    const { length } = stored?.data.bytes ?? from.bytesAt(entry);
    const start = this.placeOf(from, entry, length);
    if (stored !== undefined) {
      const bytes = this.memory.subarray(start, start + length);
      this.packed.set(this.batch.count, { ...stored, data: { ...stored.data, bytes } });
    }
    this.countData(from.lengthAt(entry));
    this.batch.addFrom(from, entry, start);
  }

  private placeOf(from: BlockBatch, entry: number, length: number): number {
    const { room } = this;
    const start = from.startAt(entry);
    if (room === null || from.memory === null || from.memory === room) return start;
    // The parts of a section are never longer than 1 MiB together.
    room.bytes.set(from.memory.bytes.subarray(start, start + length), this.used);
    return this.takePlace(length);
  }
}

/**
 * Gathers items into batches. A mark ends a batch, and comes by itself; what came before an error comes before it.
 *
 * @param items with their data in the filler's memory
 * @param apart how many items at the beginning do not wait for others, because their writer waits for an answer
 */
export function gatherBatches(
  items: AsyncIterable<PackedItem>,
  filler: BatchFiller,
  apart = 0,
): AsyncGenerator<GatheredBatch | Mark> {
  return endBatches(gatherItems(items, filler, apart), filler);
}

async function* gatherItems(
  items: AsyncIterable<PackedItem>,
  filler: BatchFiller,
  apart: number,
): AsyncGenerator<GatheredBatch | Mark> {
  let seen = 0;
  for await (const item of items) {
    const full = isMark(item) ? filler.closeAll() : filler.putItem(item);
    if (full !== null) yield full;
    if (isMark(item)) yield item;
    seen += 1;
    const atOnce = seen === apart ? filler.closeAll() : null;
    if (atOnce !== null) yield atOnce;
  }
}

/** The batches, and what the last one has at the end, or before an error. */
export async function* endBatches(
  batches: AsyncGenerator<GatheredBatch | Mark>,
  filler: BatchFiller,
): AsyncGenerator<GatheredBatch | Mark> {
  try {
    yield* batches;
    const rest = filler.closeAll();
    if (rest !== null) yield rest;
  } catch (error) {
    const before = filler.closeAll();
    if (before !== null) yield before;
    throw error;
  } finally {
    filler.drop();
  }
}

function isMark(item: PackedItem): item is Mark {
  return !('offset' in item) || item.kind === 'audit';
}
