import type { LendBuffer } from '../bytes/byte-channel.js';
import { BatchFiller, gatherBatches } from '../stream/batches/gather-batches.js';
import { unpackBatches } from '../stream/batches/unpack-batches.js';
import type { Proof } from '../stream/block.js';
import type { IncomingStream } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import type { PackedItem } from '../stream/unpack-blocks.js';
import type { PlannedUndos } from './combination.js';
import { readCombinedItems, type ReadOptions } from './read-combination.js';

/** How many proofs are compared with the target before the first write. */
const SAMPLE = 32;

/**
 * Planned undos, as a stream that can be applied. It begins with a sample of what is known about the bytes that it
 * replaces; each block comes right after its own proof.
 */
export function streamOf(
  undos: PlannedUndos,
  header: StreamHeader,
  options: ReadOptions & { readonly lend: LendBuffer },
): IncomingStream {
  const sample = takeSample(undos);
  const filler = new BatchFiller(options.lend);
  const items = itemsOf(undos, sample, { ...options, lend: filler.lend });
  return {
    protocol: 4,
    asks: false,
    header: { ...header, sample: { changed: sample.length, unchanged: 0 } },
    blocks: unpackBatches(gatherBatches(items, filler, sample.length), options.lend, 'archive'),
  };
}

async function* itemsOf(
  { plan, proofs }: PlannedUndos,
  sample: readonly Proof[],
  options: ReadOptions,
): AsyncGenerator<PackedItem> {
  for (const proof of sample) yield { kind: 'proof', ...proof };
  for await (const block of readCombinedItems(plan, options)) {
    const proof = proofs.of(block);
    if (proof !== null) yield { kind: 'proof', ...proof };
    yield block;
  }
}

/** Proofs spread over the whole plan. */
function takeSample({ plan: { extents }, proofs }: PlannedUndos): Proof[] {
  const step = Math.max(1, Math.floor(extents.count / SAMPLE));
  const sample: Proof[] = [];
  for (let index = 0; index < extents.count && sample.length < SAMPLE; index += step) {
    const proof = proofs.of(extents.at(index));
    if (proof !== null) sample.push(proof);
  }
  return sample;
}
