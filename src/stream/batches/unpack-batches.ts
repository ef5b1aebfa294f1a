import type { LendBuffer } from '../../bytes/byte-channel.js';
import { workAhead } from '../../codec/work-ahead.js';
import type { Mark } from '../block.js';
import { startingWith, unpackInto } from '../unpack-blocks.js';
import { BlockBatch, ENTRY } from './batch.js';
import type { GatheredBatch } from './gather-batches.js';

/** How many batches are decompressed at once: a batch may be one block. */
const BATCHES_AHEAD = 4;

/**
 * The batches with all of their blocks decompressed, some of them ahead. Throws FormatError, in its turn, if compressed
 * bytes do not match what their frame says, or if this host does not have their codec.
 */
export async function* unpackBatches(
  gathered: AsyncIterable<GatheredBatch | Mark>,
  lend: LendBuffer,
  what: string,
): AsyncGenerator<BlockBatch | Mark> {
  const iterator = gathered[Symbol.asyncIterator]();
  try {
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
      const item = next.value;
      if (!('batch' in item)) yield item;
      // Many streams have no compressed blocks, and are not read ahead.
      else if (item.packed.size === 0) yield item.batch;
      else {
        yield* workAhead(
          startingWith(item, iterator),
          BATCHES_AHEAD,
          (each): Promise<BlockBatch | Mark> =>
            'batch' in each ? unpackBatch(each, lend, what) : Promise.resolve(each),
          (each) => {
            if (each instanceof BlockBatch) each.release();
          },
        );
        return;
      }
    }
  } finally {
    await iterator.return?.();
  }
}

async function unpackBatch(
  { batch, packed }: GatheredBatch,
  lend: LendBuffer,
  what: string,
): Promise<BlockBatch> {
  if (packed.size === 0) return batch;
  let length = 0;
  for (let entry = 0; entry < batch.count; entry++) {
    if (batch.kindAt(entry) === ENTRY.data) length += batch.lengthAt(entry);
  }
  // Asked for before anything else is awaited, so before the next frame asks: the batch whose turn it is always gets
  // its memory.
  const raw = await lend(length).catch((error: unknown) => {
    batch.release();
    throw error;
  });
  const unpacked = new BlockBatch(raw);
  try {
    const work: Promise<void>[] = [];
    for (let entry = 0, start = 0; entry < batch.count; entry++) {
      unpacked.addFrom(batch, entry, start);
      if (batch.kindAt(entry) !== ENTRY.data) continue;
      const bytes = unpacked.bytesAt(entry);
      start += bytes.length;
      const stored = packed.get(entry);
      if (stored === undefined) bytes.set(batch.bytesAt(entry));
      else
        work.push(
          unpackInto(stored, bytes, what).then((crc) => {
            unpacked.setCrc(entry, crc);
          }),
        );
    }
    // Wait for all of them, because the memory is given back after this.
    await Promise.allSettled(work);
    await Promise.all(work);
    return unpacked;
  } catch (error) {
    unpacked.release();
    throw error;
  } finally {
    batch.release();
  }
}
