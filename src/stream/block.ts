import type { LentBuffer } from '../bytes/byte-channel.js';
import type { Proof, Section } from './frame-format.js';

/** New contents for a range of the volume. Whoever takes a data block releases it. Offsets, lengths in bytes. */
export type Block =
  | {
      readonly kind: 'data';
      readonly offset: number;
      readonly length: number;
      readonly data: LentBuffer;
      /** The CRC-32 of the data, where it is known already. */
      readonly crc?: number;
    }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number }
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number };

/** Words of a session: all before it shall be durable; or, before the first block, go on where an earlier one was. */
export type SessionMark =
  | { readonly kind: 'checkpoint'; readonly frame: number; readonly token: Buffer }
  | { readonly kind: 'resume'; readonly token: Buffer };

/** The stream's last word, where it has one: it does not lead to the state that its header names. */
export interface NamelessMark {
  readonly kind: 'nameless';
}

/** The pass that begins here proves, and changes nothing: it has a section for each byte of the extent that did not change. */
export interface AuditMark {
  readonly kind: 'audit';
  readonly offset: number;
  readonly length: number;
}

/** What a stream carries: blocks, what the target must hold before them, and marks between them. */
export type StreamItem =
  | Block
  | ({ readonly kind: 'proof' } & Proof)
  | ({ readonly kind: 'section' } & Section)
  | { readonly kind: 'next-pass' }
  | SessionMark
  | AuditMark
  | NamelessMark;

/** The block, or null for anything else. */
export function asBlock(item: StreamItem): Block | null {
  return item.kind === 'data' || item.kind === 'zero' || item.kind === 'discard' ? item : null;
}
