import { hash } from 'node:crypto';
import { crc32 } from '../bytes/contents.js';
import type { Extent } from '../bytes/extent.js';
import { codecNumbered, type CodecName } from '../codec/codec.js';
import { FormatError } from '../errors.js';
import {
  MAX_BLOCK_LENGTH,
  type AnnouncedWrites,
  type Announcement,
  type Proof,
  type Section,
} from './block.js';

/*
 * The byte layout of PROTO[4] (docs/stream-format.md):
 *
 *   stream  := "lvmsync PROTO[4]\n" frame…
 *   frame   := u32be payloadLength | u8 type | u8 flags | u64be number | payload | u32be crc32(frame so far)
 *   H, L    := JSON                                    D := u64 offset, u32 rawLength, u8 codec, [u32 rawCrc], bytes
 *   Z, U, A := u64 offset, u64 length                  N := u32 pass
 *   P       := u64 offset, u32 length, u32 crc         F := u64 writes
 *   S       := u64 offset, u32 length, u32 oldCrc, u32 newCrc
 *   W       := one or more times (u64 offset, u64 length, u8 zeroes, u32 crc)
 *   E       := u64 frames, dataBytes, zeroBytes, discardBytes, lastIndex, u8[32] chain       flag 2: NAMELESS
 */
export const PROTOCOL_LINE = 'lvmsync PROTO[4]\n';
export const FRAME_HEADER_LENGTH = 14;
export const CHECKSUM_LENGTH = 4;
export const DATA_PREFIX_LENGTH = 13;
/** Before a codec's output: the checksum of the block's own bytes. */
export const RAW_CRC_LENGTH = 4;
export const RANGE_LENGTH = 16;
export const END_LENGTH = 72;
const CHAIN_LENGTH = 32;
/** The longest payload of any frame, also of a skipped one. Bytes. */
export const MAX_PAYLOAD_LENGTH = MAX_BLOCK_LENGTH + 65_536;

export const HEADER = 'H';
/** Replaces the header if the writer asks what applying the stream would do. No block follows. */
export const QUESTION = 'L';
export const DATA = 'D';
export const ZERO = 'Z';
export const DISCARD = 'U';
export const NEXT_PASS = 'N';
export const AUDIT = 'A';
export const PROOF = 'P';
export const SECTION = 'S';
export const END = 'E';
/** A journal's own marks, optional: writes that are about to be made, and how many of them are durable. */
export const ANNOUNCEMENT = 'W';
export const FLUSHED = 'F';

/** Flags, bit 0: a reader that does not know the type skips the frame. */
export const OPTIONAL = 1;
/** A flag of the end frame: the stream leads to a state without a name, not to the one that its header names. */
export const NAMELESS = 2;
/** The codec number of uncompressed bytes. */
export const RAW = 0;

/** A frame's first 14 bytes. */
export interface FrameHeader {
  readonly payloadLength: number;
  readonly type: string;
  readonly flags: number;
  readonly number: number;
}

const HIGH = 2 ** 32;

/** Memory as a view to put numbers in: for many small fields it is several times faster than a Buffer's methods. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** A u64, without a bigint: a stream has many. */
export function putNumber(to: DataView, at: number, value: number): void {
  to.setUint32(at, Math.floor(value / HIGH));
  to.setUint32(at + 4, value % HIGH);
}

export function putFrameHeader(to: DataView, at: number, header: FrameHeader): void {
  to.setUint32(at, header.payloadLength);
  to.setUint8(at + 4, header.type.charCodeAt(0));
  to.setUint8(at + 5, header.flags);
  putNumber(to, at + 6, header.number);
}

/**
 * A frame's header, which starts `at` an index of some bytes; `position` is where the frame starts in the stream. The
 * same for the parsers of payloads.
 */
export function parseFrameHeader(bytes: Buffer, what: string, position: number, at = 0): FrameHeader {
  return {
    payloadLength: bytes.readUInt32BE(at),
    type: String.fromCharCode(bytes.readUInt8(at + 4)),
    flags: bytes.readUInt8(at + 5),
    number: readNumber(bytes, at + 6, { what, position, field: 'frame number' }),
  };
}

/** How many bytes follow a frame's header: its payload, and its checksum. */
export function lengthAfter({ payloadLength }: FrameHeader): number {
  return payloadLength + CHECKSUM_LENGTH;
}

/** A whole frame in one piece of memory; for small payloads. */
export function encodeFrame(type: string, flags: number, number: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_LENGTH + payload.length + CHECKSUM_LENGTH);
  const end = FRAME_HEADER_LENGTH + payload.length;
  putFrameHeader(viewOf(frame), 0, { payloadLength: payload.length, type, flags, number });
  frame.set(payload, FRAME_HEADER_LENGTH);
  frame.writeUInt32BE(crc32(frame.subarray(0, end)), end);
  return frame;
}

/** The checksum of a frame whose payload is in several pieces. */
export function checksumOf(...pieces: readonly Uint8Array[]): number {
  // For an empty piece without memory, Node's crc32 would return 0.
  return pieces.reduce((crc, piece) => (piece.length === 0 ? crc : crc32(piece, crc)), 0);
}

/** What precedes a data frame's bytes: the offset and the length of the block, and the number of the codec. */
export interface DataPrefix {
  readonly offset: number;
  readonly rawLength: number;
  readonly codec: number;
}

export function putDataPrefix(to: DataView, at: number, { offset, rawLength, codec }: DataPrefix): void {
  putNumber(to, at, offset);
  to.setUint32(at + 8, rawLength);
  to.setUint8(at + 12, codec);
}

export function parseDataPrefix(bytes: Buffer, what: string, position: number, at = 0): DataPrefix {
  return {
    offset: readNumber(bytes, at, { what, position, field: 'offset' }),
    rawLength: bytes.readUInt32BE(at + 8),
    codec: bytes.readUInt8(at + 12),
  };
}

/** Why no block can have a codec and lengths. */
export type CodecFault = 'lengths differ' | 'unknown codec' | 'impossible length';

/** The codec of a data frame with `length` bytes after its prefix; null if they are not compressed. */
export function codecOf(
  { codec: id, rawLength }: DataPrefix,
  length: number,
): { readonly codec: CodecName | null; readonly fault: CodecFault | null } {
  if (id === RAW) return { codec: null, fault: rawLength === length ? null : 'lengths differ' };
  const codec = codecNumbered(id);
  if (codec === null) return { codec, fault: 'unknown codec' };
  const isPossible = rawLength <= MAX_BLOCK_LENGTH && rawLength > length && length >= RAW_CRC_LENGTH;
  return { codec, fault: isPossible ? null : 'impossible length' };
}

export function putRange(to: DataView, at: number, { offset, length }: Extent): void {
  putNumber(to, at, offset);
  putNumber(to, at + 8, length);
}

export function encodeRange(offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(RANGE_LENGTH);
  putRange(viewOf(bytes), 0, { offset, length });
  return bytes;
}

export function parseRange(bytes: Buffer, what: string, position: number, at = 0) {
  return {
    offset: readNumber(bytes, at, { what, position, field: 'offset' }),
    length: readNumber(bytes, at + 8, { what, position, field: 'length' }),
  };
}

export const PROOF_LENGTH = 16;

export function putProof(to: DataView, at: number, { offset, length, crc }: Proof): void {
  putNumber(to, at, offset);
  to.setUint32(at + 8, length);
  to.setUint32(at + 12, crc);
}

export function parseProof(bytes: Buffer, what: string, position: number, at: number): Proof {
  return {
    offset: readNumber(bytes, at, { what, position, field: 'offset' }),
    length: bytes.readUInt32BE(at + 8),
    crc: bytes.readUInt32BE(at + 12),
  };
}

export const SECTION_LENGTH = 20;

export function putSection(to: DataView, at: number, section: Section): void {
  putNumber(to, at, section.offset);
  to.setUint32(at + 8, section.length);
  to.setUint32(at + 12, section.oldCrc);
  to.setUint32(at + 16, section.newCrc);
}

export function parseSection(bytes: Buffer, what: string, position: number, at: number): Section {
  return {
    offset: readNumber(bytes, at, { what, position, field: 'offset' }),
    length: bytes.readUInt32BE(at + 8),
    oldCrc: bytes.readUInt32BE(at + 12),
    newCrc: bytes.readUInt32BE(at + 16),
  };
}

const ANNOUNCEMENT_LENGTH = 21;

export function encodeAnnouncements(writes: AnnouncedWrites): Buffer {
  const bytes = Buffer.allocUnsafe(writes.count * ANNOUNCEMENT_LENGTH);
  const to = viewOf(bytes);
  for (let write = 0, at = 0; write < writes.count; write++, at += ANNOUNCEMENT_LENGTH) {
    const crc = writes.crcOf(write);
    putNumber(to, at, writes.offsetOf(write));
    putNumber(to, at + 8, writes.lengthOf(write));
    to.setUint8(at + 16, crc === null ? 1 : 0);
    to.setUint32(at + 17, crc ?? 0);
  }
  return bytes;
}

export function* parseAnnouncements(bytes: Buffer, what: string, position: number): Generator<Announcement> {
  if (bytes.length % ANNOUNCEMENT_LENGTH !== 0) {
    throw new FormatError(what, position, 'W frame', `${bytes.length} bytes long`);
  }
  for (let at = 0; at < bytes.length; at += ANNOUNCEMENT_LENGTH) {
    yield {
      offset: readNumber(bytes, at, { what, position, field: 'offset' }),
      length: readNumber(bytes, at + 8, { what, position, field: 'length' }),
      zeroes: bytes.readUInt8(at + 16) === 1,
      crc: bytes.readUInt32BE(at + 17),
    };
  }
}

const FLUSHED_LENGTH = 8;

/** How many of the writes that a journal announced are on the target's stable storage. */
export function encodeFlushed(writes: number): Buffer {
  const bytes = Buffer.allocUnsafe(FLUSHED_LENGTH);
  bytes.writeBigUInt64BE(BigInt(writes));
  return bytes;
}

export function parseFlushed(bytes: Buffer, what: string, position: number): number {
  if (bytes.length !== FLUSHED_LENGTH) {
    throw new FormatError(what, position, 'F frame', `${bytes.length} bytes long`);
  }
  return readNumber(bytes, 0, { what, position, field: 'writes' });
}

export function encodePass(pass: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(pass, 0);
  return bytes;
}

/** Totals of a stream. Bytes, except for `frames`. */
export interface StreamTotals {
  readonly frames: number;
  readonly dataBytes: number;
  readonly zeroBytes: number;
  readonly discardBytes: number;
}

/** @param lastIndex where the last index frame starts, 0 if there is no index */
export function encodeEnd(totals: StreamTotals, chain: Uint8Array, lastIndex = 0): Buffer {
  const bytes = Buffer.alloc(END_LENGTH);
  const counts = [totals.frames, totals.dataBytes, totals.zeroBytes, totals.discardBytes, lastIndex];
  counts.forEach((count, index) => bytes.writeBigUInt64BE(BigInt(count), index * 8));
  bytes.set(chain, 40);
  return bytes;
}

export function parseEnd(
  bytes: Buffer,
  what: string,
  position: number,
): StreamTotals & { readonly chain: Buffer } {
  const at = (index: number) => readNumber(bytes, index * 8, { what, position, field: 'count' });
  return {
    frames: at(0),
    dataBytes: at(1),
    zeroBytes: at(2),
    discardBytes: at(3),
    chain: bytes.subarray(40),
  };
}

/** Where a frame's checksum is in a link of the chain: after the digest so far, and the frame's header. */
const CHECKSUM_AT = CHAIN_LENGTH + FRAME_HEADER_LENGTH;

/**
 * The digest of a stream: a chain over the headers and checksums of its frames, which costs almost nothing a byte and
 * can be continued after a restart.
 */
export class FrameChain {
  /** The digest so far, then the header and the checksum of the next frame; the same before the last frame. */
  private link = Buffer.alloc(CHECKSUM_AT + CHECKSUM_LENGTH);
  private lastLink = Buffer.alloc(CHECKSUM_AT + CHECKSUM_LENGTH);

  /** The digest over all frames so far. */
  get value(): Buffer {
    return Buffer.from(this.link.subarray(0, CHAIN_LENGTH));
  }

  set value(digest: Uint8Array) {
    this.link.set(digest);
  }

  /** The digest over all frames before the last one. */
  get before(): Buffer {
    return Buffer.from(this.lastLink.subarray(0, CHAIN_LENGTH));
  }

  add(header: Uint8Array, checksum: Uint8Array): void {
    this.addHeader(header, 0);
    this.addChecksum(checksum, 0);
  }

  /** Takes the header of the next frame, which may turn out wrong. */
  addHeader(bytes: Uint8Array, at: number): void {
    // Byte by byte: that costs less than a view of so few bytes.
    for (let index = 0; index < FRAME_HEADER_LENGTH; index++)
      this.link[CHAIN_LENGTH + index] = bytes[at + index] ?? 0;
  }

  /** Takes the frame's checksum, and so the frame. */
  addChecksum(bytes: Uint8Array, at: number): void {
    for (let index = 0; index < CHECKSUM_LENGTH; index++)
      this.link[CHECKSUM_AT + index] = bytes[at + index] ?? 0;
    const { link, lastLink } = this;
    // In one call, to a string: it takes a quarter of the time of a Hash object, and half of that of a new Buffer.
    lastLink.write(hash('sha256', link, 'binary'), 0, 'binary');
    this.link = lastLink;
    this.lastLink = link;
  }
}

interface Field {
  readonly what: string;
  readonly position: number;
  readonly field: string;
}

/** A u64 as a number. Throws FormatError if a number cannot hold it exactly. */
export function readNumber(bytes: Buffer, at: number, { what, position, field }: Field): number {
  // In two halves: a bigint costs three times as much.
  const value = bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
  if (!Number.isSafeInteger(value)) throw new FormatError(what, position, field, 'impossibly large');
  return value;
}
