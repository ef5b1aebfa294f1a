import type { ArchiveProofs } from '../archive/proofs.js';
import type { LendBuffer } from '../bytes/byte-channel.js';
import type { Proof } from '../stream/block.js';
import { BatchFiller, gatherBatches } from '../stream/batches/gather-batches.js';
import type { IncomingStream } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { unpackBatches } from '../stream/batches/unpack-batches.js';
import type { PackedItem } from '../stream/unpack-blocks.js';
import type { Combination } from './combination.js';
import { readCombinedItems } from './read-combination.js';

/** How many proofs are compared with the target before the first write. */
const SAMPLE = 32;

/**
 * A combination as a stream to apply. It begins with a sample of what is known about the bytes that it replaces; each
 * block comes right after its own proof.
 *
 * @param proofs of the plan's base
 */
export function streamOf(
  plan: Combination,
  header: StreamHeader,
  proofs: ArchiveProofs,
  lend: LendBuffer,
  signal: AbortSignal,
): IncomingStream {
  const sample = takeSample(plan, proofs);
  const filler = new BatchFiller(lend);
  const items = itemsOf(plan, proofs, sample, filler.lend, signal);
  return {
    protocol: 4,
    asks: false,
    header: { ...header, sample: { changed: sample.length, unchanged: 0 } },
    blocks: unpackBatches(gatherBatches(items, filler, sample.length), lend, 'archive'),
  };
}

async function* itemsOf(
  plan: Combination,
  proofs: ArchiveProofs,
  sample: readonly Proof[],
  lend: LendBuffer,
  signal: AbortSignal,
): AsyncGenerator<PackedItem> {
  for (const proof of sample) yield { kind: 'proof', ...proof };
  for await (const block of readCombinedItems(plan, { lend, signal })) {
    const proof = proofs.of(block);
    if (proof !== null) yield { kind: 'proof', ...proof };
    yield block;
  }
}

/** Proofs spread over the whole plan. */
function takeSample({ extents }: Combination, proofs: ArchiveProofs): Proof[] {
  const step = Math.max(1, Math.floor(extents.count / SAMPLE));
  const sample: Proof[] = [];
  for (let index = 0; index < extents.count && sample.length < SAMPLE; index += step) {
    const proof = proofs.of(extents.at(index));
    if (proof !== null) sample.push(proof);
  }
  return sample;
}
