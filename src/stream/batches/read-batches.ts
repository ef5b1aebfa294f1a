import type { Mark } from '../block.js';
import type { CompressedBlock } from '../unpack-blocks.js';
import type { Entry } from './batch.js';
import { endBatches, type BatchFiller, type GatheredBatch } from './gather-batches.js';

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

/**
 * Reads a stream into batches. A mark ends a batch, and comes by itself; what came before an error comes before it.
 *
 * @param apart how many items at the beginning do not wait for others, because their writer waits for an answer
 */
export function readIntoBatches(
  items: ItemReader,
  filler: BatchFiller,
  apart = 0,
): AsyncGenerator<GatheredBatch | Mark> {
  return endBatches(readItems(items, filler, apart), filler);
}

async function* readItems(
  items: ItemReader,
  filler: BatchFiller,
  apart: number,
): AsyncGenerator<GatheredBatch | Mark> {
  let seen = 0;
  for (let step = items.advance(); step !== 'end'; step = items.advance()) {
    if (step === 'bytes') await items.waitForBytes();
    else if (step === 'place') {
      if (!filler.hasPlace(items.dataLength)) await filler.makePlace();
      items.placeData(filler.memory, filler.takePlace(items.dataLength));
    } else {
      const { mark } = items;
      const full = mark === null ? filler.put(items.entry, items.packed) : filler.closeAll();
      if (full !== null) yield full;
      if (mark !== null) yield mark;
      seen += 1;
      const atOnce = seen === apart ? filler.closeAll() : null;
      if (atOnce !== null) yield atOnce;
    }
  }
}
