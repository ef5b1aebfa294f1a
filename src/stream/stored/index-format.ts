import { FormatError } from '../../errors.js';
import { MAX_PAYLOAD_LENGTH, putNumber, RANGE_LENGTH, viewOf } from '../frame-format.js';

/*
 * The byte layout of a stream's index (docs/stream-format.md):
 *
 *   X := u64 previousX, then 1 to 4,096 times (u64 offset, u64 length, u64 filePosition)
 *
 * An entry says where the frame of a block starts in the stream. Index frames are optional; each says where the one
 * before it starts, 0 for none, and the end frame where the last one does.
 */
export const INDEX = 'X';
/** The most blocks in an index frame: a writer keeps this much of its index. */
export const MAX_INDEX_ENTRIES = 4096;

const PREVIOUS_LENGTH = 8;
const ENTRY_LENGTH = 24;
const FIELDS = 3;
/** In the end frame's payload: where the last index frame starts. */
const LAST_INDEX_AT = 32;
const HIGH = 2 ** 32;

/** Where a block is, in its volume and in its stream. Bytes. */
export interface IndexEntry {
  readonly offset: number;
  readonly length: number;
  /** Where its frame starts. */
  readonly position: number;
}

/** The entries of an index frame. */
export interface IndexFrame {
  /** Where the index frame before this one starts; 0 for the first. */
  readonly previous: number;
  readonly count: number;
  entry(index: number): IndexEntry;
}

/** What the writer of a stream keeps of its index: the blocks since the last index frame. */
export class IndexWriter {
  private readonly fields = new Float64Array(MAX_INDEX_ENTRIES * FIELDS);
  private count = 0;

  /** @param last where the last index frame starts, 0 if there is no index frame */
  constructor(public last = 0) {}

  get isEmpty(): boolean {
    return this.count === 0;
  }

  get isFull(): boolean {
    return this.count === MAX_INDEX_ENTRIES;
  }

  add(offset: number, length: number, position: number): void {
    const at = this.count * FIELDS;
    this.fields[at] = offset;
    this.fields[at + 1] = length;
    this.fields[at + 2] = position;
    this.count += 1;
  }

  /** The payload of the index frame that starts at `position`. */
  takeFrame(position: number): Buffer {
    const payload = Buffer.allocUnsafe(PREVIOUS_LENGTH + this.count * ENTRY_LENGTH);
    const to = viewOf(payload);
    putNumber(to, 0, this.last);
    for (let field = 0; field < this.count * FIELDS; field++) {
      putNumber(to, PREVIOUS_LENGTH + field * 8, this.fields[field] ?? 0);
    }
    this.last = position;
    this.count = 0;
    return payload;
  }
}

/** Throws FormatError if a payload is not an index, or contains an impossible number. */
export function parseIndex(payload: Buffer, what: string, position: number): IndexFrame {
  const count = (payload.length - PREVIOUS_LENGTH) / ENTRY_LENGTH;
  const isWhole = Number.isInteger(count) && count >= 1 && count <= MAX_INDEX_ENTRIES;
  if (!isWhole) throw new FormatError(what, position, 'X frame', `${payload.length} bytes long`);
  const at = (field: number) => {
    const value = readNumber(payload, field);
    if (!Number.isSafeInteger(value)) throw new FormatError(what, position, 'X frame', 'impossibly large');
    return value;
  };
  return {
    previous: at(0),
    count,
    entry: (index) => {
      const start = PREVIOUS_LENGTH + index * ENTRY_LENGTH;
      return { offset: at(start), length: at(start + 8), position: at(start + RANGE_LENGTH) };
    },
  };
}

/**
 * Where the last index frame starts according to an end frame; 0 if there is no index. Throws FormatError if
 * impossible.
 */
export function lastIndexOf(end: Buffer, what: string, position: number): number {
  const last = readNumber(end, LAST_INDEX_AT);
  if (Number.isSafeInteger(last)) return last;
  throw new FormatError(what, position, 'last index', 'impossibly large');
}

/** Whether a payload's length can be an index's. */
export function canBeIndex(payloadLength: number): boolean {
  return payloadLength <= Math.min(MAX_PAYLOAD_LENGTH, PREVIOUS_LENGTH + MAX_INDEX_ENTRIES * ENTRY_LENGTH);
}

/** Without a bigint for each: an index has many. Past 2^53 it is not exact, and not a safe integer. */
function readNumber(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * HIGH + bytes.readUInt32BE(at + 4);
}
