import type { BlockBatch } from './batches/batch.js';
import type { Extent } from '../bytes/extent.js';
import type { Proof, Section } from './block.js';
import type { StreamTotals } from './frame-format.js';
import type { IndexEntry } from './stored/index-format.js';
import type { StreamHeader } from './stream-header.js';

/** What is already known about a block's bytes. */
export interface KnownOfBytes {
  /** Their CRC-32. */
  readonly crc?: number | undefined;
  /** The same bytes compressed, for a format that supports it. */
  readonly packed?: PackedBytes | undefined;
}

export interface PackedBytes {
  /** The codec's number in the format. */
  readonly codec: number;
  readonly bytes: Uint8Array;
}

/** What was written of a stream so far. */
export interface WrittenStream {
  readonly totals: StreamTotals;
  /** The current pass, from 1, and where its last extent ends. */
  readonly pass: number;
  readonly cursor: number;
  /** Over all frames so far. */
  readonly chain: Buffer;
  /** The length so far. Bytes. */
  readonly length: number;
  /**
   * For a stream with an index: where its last index frame starts, 0 if there is no index frame, and the blocks since
   * then.
   */
  readonly index: { readonly last: number; readonly entries: readonly IndexEntry[] } | null;
}

/** Writes blocks as a stream of one of the two protocols. Offsets and lengths in bytes. */
export interface BlockWriter {
  /** Whether the format can carry proofs and sections; if not, blocks must be whole. */
  readonly carriesProofs: boolean;
  /** Bytes handed to the sink so far. */
  readonly bytesWritten: number;
  start(header: StreamHeader): Promise<void>;
  /** Resolves when the memory of `bytes`, and of what is known of them, is no longer needed. */
  data(offset: number, bytes: Uint8Array, known?: KnownOfBytes): Promise<void>;
  zero(offset: number, length: number): Promise<void>;
  discard(offset: number, length: number): Promise<void>;
  /** Says what the target must hold in an extent before it is changed. */
  prove(proof: Proof): Promise<void>;
  /** Begins a section: only the parts of it that differ follow. */
  openSection(section: Section): Promise<void>;
  /**
   * Writes all entries of a batch.
   *
   * @param known what is known of data blocks, by their entries
   */
  batch(batch: BlockBatch, known?: ReadonlyMap<number, KnownOfBytes>): Promise<void>;
  /** From here on offsets may start again at 0. */
  nextPass(): Promise<void>;
  /**
   * Writes the end and closes the sink. If this is never called, the stream is truncated.
   *
   * @param isNameless whether the stream does not, after all, lead to the state that its header names
   */
  finish(isNameless?: boolean): Promise<StreamTotals>;
}

/** What a sender of changes needs of a writer. */
export type StreamWriter = Pick<
  BlockWriter,
  'carriesProofs' | 'bytesWritten' | 'start' | 'prove' | 'batch' | 'nextPass' | 'finish'
>;

/** A writer to a receiver that answers. */
export interface SessionWriter extends StreamWriter {
  /** How many frames, or items in their place, were written; the number of the next one. */
  readonly frameCount: number;
  /** Whether the end is being written. */
  readonly isEnding: boolean;
  /** Asks for everything before it to be made durable; the token identifies this place. */
  checkpoint(token: Buffer): Promise<void>;
  /** Says that only what comes after the place that the receiver offered will follow. */
  resume(token: Buffer): Promise<void>;
  /** At the start of a pass: only sections follow, for everything in an extent that did not change. */
  audit(extent: Extent): Promise<void>;
  /** A sign of life. */
  heartbeat(): Promise<void>;
}
