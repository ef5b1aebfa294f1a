import type { Mark } from '../block.js';
import type { ItemReader } from '../item-reader.js';
import { endBatches, type BatchFiller, type GatheredBatch } from './gather-batches.js';

/**
 * Reads a stream into batches. A mark ends a batch, and comes by itself; what came before an error comes before it.
 *
 * @param apart how many items at the beginning do not wait for others, because their writer waits for an answer
 */
export function readBatches(
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
