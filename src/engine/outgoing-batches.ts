import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { crc32, findDifferingRuns, isZero } from '../bytes/contents.js';
import { endOf, splitExtents, type Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import { BATCH_ENTRIES, BlockBatch, ENTRY } from '../stream/batches/batch.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import { joinNeighbours, readTogether, type Span } from './block-reader.js';

/** How many spans are read at once: enough to keep a disk busy; libuv has only four threads anyway. */
const SPANS_AHEAD = 8;

/**
 * The most that is sent as one discard: more would keep a receiver that has to write zeroes busy for too long. Bytes.
 */
const DISCARD_LIMIT = 64 * 1024 * 1024;

/** What to send of a volume, each ascending. */
export interface OutgoingExtents {
  /** The extents whose new bytes are read. */
  readonly data: Iterable<Extent>;
  /** Those of `data` that have old bytes; a tail that the base did not have has none. */
  readonly old: Iterable<Extent>;
  readonly discards: Iterable<Extent>;
}

/** Where the bytes are, and how old and new ones are compared. */
export interface OutgoingBytes {
  readonly news: ReadableVolume;
  /** Null: nothing is known of the old bytes. */
  readonly olds: ReadableVolume | null;
  /**
   * The unit in which old and new bytes are compared: only units that differ are sent. Null: everything is sent. Bytes,
   * a power of two.
   */
  readonly unit: number | null;
}

/** Blocks to send, with their proofs and sections. The consumer releases the batch. */
export interface OutgoingBatch {
  readonly batch: BlockBatch;
  /** How many pieces of the volume it completes, of at most 1 MiB each; which of them, from 0, are sections. */
  readonly pieces: number;
  readonly sections: readonly number[];
  /** How much of the volume it completes, discards included. Bytes. */
  readonly coveredBytes: number;
  /** Where its last piece ends; null: it has only discards. Bytes. */
  readonly end: number | null;
}

/** A piece of the volume, and whether its old bytes are read. */
interface Piece extends Extent {
  readonly hasOld: boolean;
}

interface ReadSpan {
  readonly span: Span<Piece>;
  readonly now: LentBuffer;
  readonly old: LentBuffer | null;
}

/**
 * Reads what to send, and compares it with the old bytes, some of it ahead. Throws DeviceError.
 */
export async function* readOutgoing(
  { data, old, discards }: OutgoingExtents,
  bytes: OutgoingBytes,
  lend: LendBuffer,
): AsyncGenerator<OutgoingBatch> {
  const pieces = markOld(splitExtents(data, MAX_BLOCK_LENGTH), splitExtents(old, MAX_BLOCK_LENGTH));
  const spans = joinNeighbours(pieces, MAX_BLOCK_LENGTH);
  const left = new ExtentQueue(splitExtents(discards, DISCARD_LIMIT));
  const ahead: Promise<ReadSpan>[] = [];
  try {
    for (;;) {
      while (ahead.length < SPANS_AHEAD) {
        const next = spans.next();
        if (next.done === true) break;
        const read = readBoth(next.value, bytes, lend);
        // The failure is reported in its turn, or not at all if an earlier one failed.
        read.catch(() => undefined);
        ahead.push(read);
      }
      const first = ahead.shift();
      if (first === undefined) break;
      yield* batchesOf(await first, left, bytes.unit);
    }
    yield* discardsLeft(left);
  } finally {
    for (const each of await Promise.allSettled(ahead)) {
      if (each.status === 'rejected') continue;
      each.value.now.release();
      each.value.old?.release();
    }
  }
}

/** The same in the smallest batches: a piece, or a discard, in each. */
export function* partsOf({ batch }: OutgoingBatch): Generator<OutgoingBatch> {
  for (const part of batch.parts()) {
    const kind = part.kindAt(0);
    const isPiece = kind !== ENTRY.discard;
    yield {
      batch: part,
      pieces: isPiece ? 1 : 0,
      sections: kind === ENTRY.section ? [0] : [],
      coveredBytes: part.lengthAt(0),
      end: isPiece ? part.endAt(0) : null,
    };
  }
}

function* markOld(data: Iterable<Extent>, old: Iterable<Extent>): Generator<Piece> {
  const olds = new ExtentQueue(old);
  for (const { offset, length } of data) {
    const hasOld = olds.first?.offset === offset;
    if (hasOld && olds.first?.length !== length) throw new Error(`old bytes of another length at ${offset}`);
    if (hasOld) olds.shift();
    yield { offset, length, hasOld };
  }
  if (olds.first !== null) throw new Error(`old bytes at ${olds.first.offset}, where nothing is sent`);
}

async function readBoth(
  span: Span<Piece>,
  { news, olds }: OutgoingBytes,
  lend: LendBuffer,
): Promise<ReadSpan> {
  const withOld = span.blocks.filter(({ hasOld }) => hasOld);
  const last = withOld.at(-1);
  const now = await readTogether(news, span, lend);
  if (olds === null || last === undefined) return { span, now, old: null };
  try {
    const oldSpan = { offset: span.offset, length: endOf(last) - span.offset, blocks: withOld };
    return { span, now, old: await readTogether(olds, oldSpan, lend) };
  } catch (error) {
    now.release();
    throw error;
  }
}

/** The blocks of a span, and the discards before them. Gives the memory of its old bytes back before its last batch. */
function* batchesOf(
  { span, now, old }: ReadSpan,
  discards: ExtentQueue,
  unit: number | null,
): Generator<OutgoingBatch> {
  const filling = new Filling(now);
  try {
    try {
      for (const piece of span.blocks) {
        while (discards.first !== null && discards.first.offset < piece.offset) {
          if (filling.isFullFor(1)) yield filling.take();
          filling.addDiscard(discards.shift());
        }
        const start = piece.offset - span.offset;
        const newBytes = now.bytes.subarray(start, start + piece.length);
        const oldBytes = piece.hasOld ? (old?.bytes.subarray(start, start + piece.length) ?? null) : null;
        const outgoing = compare(piece, oldBytes, newBytes, unit);
        if (filling.isFullFor(outgoing.runs.length + 1)) yield filling.take();
        filling.add(piece, outgoing, newBytes);
      }
    } finally {
      old?.release();
    }
    yield filling.take();
  } finally {
    filling.drop();
  }
}

function* discardsLeft(discards: ExtentQueue): Generator<OutgoingBatch> {
  const filling = new Filling(null);
  try {
    while (discards.first !== null) {
      if (filling.isFullFor(1)) yield filling.take();
      filling.addDiscard(discards.shift());
    }
    if (!filling.isEmpty) yield filling.take();
  } finally {
    filling.drop();
  }
}

/** What is sent of a piece: what vouches for it, and the runs that differ. Offsets are relative to the volume. */
interface Outgoing {
  /** Null: nothing is known of its old bytes. */
  readonly oldCrc: number | null;
  /** Of the whole piece. */
  readonly newCrc: number;
  readonly isSection: boolean;
  readonly runs: readonly Extent[];
}

function compare(piece: Extent, old: Buffer | null, now: Buffer, unit: number | null): Outgoing {
  const whole = [{ offset: piece.offset, length: piece.length }];
  if (old === null) return { oldCrc: null, newCrc: crc32(now), isSection: false, runs: whole };
  const runs = unit === null ? whole : findDifferingRuns(old, now, unit, piece.offset);
  const oldCrc = crc32(old);
  const isSection = runs[0]?.length !== piece.length;
  return { oldCrc, newCrc: runs.length === 0 ? oldCrc : crc32(now), isSection, runs };
}

/** A batch that fills with the blocks of one span. */
class Filling {
  private batch: BlockBatch;
  private pieces = 0;
  private sections: number[] = [];
  private coveredBytes = 0;
  private end: number | null = null;
  private holders = 1;

  /** @param memory of the span's new bytes; it is given back when this and all of its batches have let go of it */
  constructor(private readonly memory: LentBuffer | null) {
    this.batch = this.open();
  }

  get isEmpty(): boolean {
    return this.batch.count === 0;
  }

  /** Whether a batch of its own has to begin for so many entries. */
  isFullFor(entries: number): boolean {
    return this.batch.count + entries > BATCH_ENTRIES;
  }

  addDiscard({ offset, length }: Extent): void {
    this.batch.add({ kind: 'discard', offset, length });
    this.coveredBytes += length;
  }

  add(piece: Extent, { oldCrc, newCrc, isSection, runs }: Outgoing, bytes: Buffer): void {
    const { batch, memory } = this;
    const { offset, length } = piece;
    if (isSection) {
      this.sections.push(this.pieces);
      batch.add({ kind: 'section', offset, length, crc: oldCrc ?? NaN, newCrc });
    } else if (oldCrc !== null) batch.add({ kind: 'proof', offset, length, crc: oldCrc });
    for (const run of runs) {
      const part = bytes.subarray(run.offset - offset, endOf(run) - offset);
      const start = part.byteOffset - (memory?.bytes.byteOffset ?? NaN);
      if (isZero(part)) batch.add({ kind: 'zero', ...run });
      else batch.add({ kind: 'data', ...run, start, crc: isSection ? crc32(part) : newCrc });
    }
    this.pieces += 1;
    this.coveredBytes += length;
    this.end = endOf(piece);
  }

  /** The batch so far; another one begins. */
  take(): OutgoingBatch {
    const { batch, pieces, sections, coveredBytes, end } = this;
    [this.pieces, this.sections, this.coveredBytes, this.end] = [0, [], 0, null];
    this.batch = this.open();
    return { batch, pieces, sections, coveredBytes, end };
  }

  /** Lets go of what was not taken. */
  drop(): void {
    this.batch.release();
    this.letGo();
  }

  private open(): BlockBatch {
    if (this.memory === null) return new BlockBatch();
    this.holders += 1;
    const release = () => {
      this.letGo();
    };
    return new BlockBatch({ bytes: this.memory.bytes, release });
  }

  private letGo(): void {
    this.holders -= 1;
    if (this.holders === 0) this.memory?.release();
  }
}

/** Ascending extents; the next one can be looked at before it is taken. */
class ExtentQueue {
  private readonly extents: Iterator<Extent, unknown>;
  first: Extent | null = null;

  constructor(extents: Iterable<Extent>) {
    this.extents = extents[Symbol.iterator]();
    this.take();
  }

  /** Takes the first. */
  shift(): Extent {
    const { first } = this;
    if (first === null) throw new Error('no extent is left');
    this.take();
    return first;
  }

  private take(): void {
    const next = this.extents.next();
    this.first = next.done === true ? null : next.value;
  }
}
