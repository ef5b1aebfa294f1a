import type { Entry } from './batches/batch.js';
import type { Mark } from './block.js';
import type { CompressedBlock } from './unpack-blocks.js';

/** What a reader has come to: an item, or the end; or it waits for bytes, or to be told where data goes. */
export type Step = 'item' | 'end' | 'bytes' | 'place';

/**
 * Reads what a stream is made of, step by step, in either protocol: what has come as a whole costs no promise. Each
 * step may throw FormatError.
 */
export interface ItemReader {
  /** The item, if it is a mark. */
  readonly mark: Mark | null;
  /** The item, if it is not a mark. Its data, if it has any, is where `placeData` said. */
  readonly entry: Entry;
  /** The entry's block, if its data is compressed. */
  readonly packed: CompressedBlock | null;
  /** Where the entry's block is in the stream: its frame, or in PROTO[3] its data. */
  readonly position: number;
  /** How much data a place is needed for. Bytes. */
  readonly dataLength: number;
  /** Reads on, as far as the bytes at hand reach. */
  advance(): Step;
  /** Waits for some of the bytes that are missing. Throws TruncatedStreamError if the source has ended. */
  waitForBytes(): Promise<void>;
  /** Says where the data goes that comes next. */
  placeData(memory: Buffer, start: number): void;
}
