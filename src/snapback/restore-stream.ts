import type { LendBuffer } from '../byte-channel.js';
import type { Extent } from '../extent.js';
import type { Proof } from '../stream/frame-format.js';
import type { StreamItem } from '../stream/block.js';
import type { IncomingStream } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import type { Combination } from './combination.js';
import { touches, type ArchiveProofs } from './proofs.js';
import { readCombination } from './read-combination.js';

/** How many proofs are held against the target before the first write. */
const SAMPLE = 32;

/**
 * A combination as a stream that is applied: with what is known of the bytes that it replaces, a sample of it first,
 * and each block's right before the block.
 *
 * @param proofs those of each archive of the plan, in its order
 */
export function streamOf(
  plan: Combination,
  header: StreamHeader,
  proofs: readonly ArchiveProofs[],
  lend: LendBuffer,
  signal: AbortSignal,
): IncomingStream {
  const sample = takeSample(plan, proofs);
  return {
    protocol: 4,
    header: { ...header, sample: { changed: sample.length, unchanged: 0 } },
    blocks: items(plan, proofs, sample, lend, signal),
  };
}

async function* items(
  plan: Combination,
  proofs: readonly ArchiveProofs[],
  sample: readonly Proof[],
  lend: LendBuffer,
  signal: AbortSignal,
): AsyncGenerator<StreamItem> {
  for (const proof of sample) yield { kind: 'proof', ...proof };
  for await (const block of readCombination(plan, { lend, signal })) {
    const proof = proofOf(plan, proofs, block);
    if (proof !== null) yield { kind: 'proof', ...proof };
    yield block;
  }
}

/**
 * What a volume in the plan's base holds in an extent: what the first archive that brings anything there says of the
 * state before it, since none before it changed that. Null where it says nothing of just this extent.
 */
function proofOf(
  { archives }: Combination,
  proofs: readonly ArchiveProofs[],
  { offset, length }: Extent,
): Proof | null {
  const first = archives.findIndex(({ extents }) => touches(extents, { offset, length }));
  return proofs[first]?.of({ offset, length }) ?? null;
}

/** Proofs from all over the plan. */
function takeSample(plan: Combination, proofs: readonly ArchiveProofs[]): Proof[] {
  const { extents } = plan;
  const step = Math.max(1, Math.floor(extents.count / SAMPLE));
  const sample: Proof[] = [];
  for (let index = 0; index < extents.count && sample.length < SAMPLE; index += step) {
    const proof = proofOf(plan, proofs, extents.at(index));
    if (proof !== null) sample.push(proof);
  }
  return sample;
}
