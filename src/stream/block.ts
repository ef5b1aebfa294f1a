import type { LentBuffer } from '../bytes/byte-channel.js';

/** The longest data of a block, so that a reader knows how much memory it may need. Bytes. */
export const MAX_BLOCK_LENGTH = 1024 * 1024;

/** New contents for a range of the volume. The consumer of a data block releases it. Offsets, lengths in bytes. */
export type Block =
  | {
      readonly kind: 'data';
      readonly offset: number;
      readonly length: number;
      readonly data: LentBuffer;
      /** The CRC-32 of the data, if it is already known. */
      readonly crc?: number;
    }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number }
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number };

/** What the target must hold in an extent before it is changed: the checksum of the old bytes. */
export interface Proof {
  readonly offset: number;
  readonly length: number;
  readonly crc: number;
}

/**
 * An extent whose differing parts alone follow. The checksums cover all of it, before and after: the result is
 * right only if the parts that were not sent are what the sender assumes.
 */
export interface Section {
  readonly offset: number;
  readonly length: number;
  readonly oldCrc: number;
  readonly newCrc: number;
}

/** A write that a journal says is about to be made: of zeroes, or of bytes with this checksum. */
export interface Announcement {
  readonly offset: number;
  readonly length: number;
  readonly zeroes: boolean;
  /** 0 if zeroes are written. */
  readonly crc: number;
}

/** Writes that a journal says are about to be made. They are named by their number, 0 first. */
export interface AnnouncedWrites {
  readonly count: number;
  offsetOf(write: number): number;
  lengthOf(write: number): number;
  /** The CRC-32 of what is written; null for zeroes. */
  crcOf(write: number): number | null;
}

/** Marks of a session: make everything before this durable; or, before the first block, continue an earlier session. */
export type SessionMark =
  | { readonly kind: 'checkpoint'; readonly frame: number; readonly token: Buffer }
  | { readonly kind: 'resume'; readonly token: Buffer };

/** The last item of some streams: the stream does not lead to the state that its header names. */
export interface NamelessMark {
  readonly kind: 'nameless';
}

/** A pass begins that proves, and changes nothing: it has a section for each byte of the extent that did not change. */
export interface AuditMark {
  readonly kind: 'audit';
  readonly offset: number;
  readonly length: number;
}

/** What comes between blocks. */
export type Mark = { readonly kind: 'next-pass' } | SessionMark | AuditMark | NamelessMark;

/** The items of a stream: blocks, proofs and sections before them, and marks between them. */
export type StreamItem =
  Block | ({ readonly kind: 'proof' } & Proof) | ({ readonly kind: 'section' } & Section) | Mark;

/** The block, or null for anything else. */
export function asBlock(item: StreamItem): Block | null {
  return item.kind === 'data' || item.kind === 'zero' || item.kind === 'discard' ? item : null;
}
