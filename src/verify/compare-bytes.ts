import { ChunkSet } from '../bytes/chunk-set.js';
import { splitExtents, sumLengths } from '../bytes/extent.js';
import { ChangeSet } from '../changes/change-set.js';
import type { BlockDevice } from '../device/block-device.js';
import { readBlocks, type ReadBlock } from '../engine/block-reader.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { VERIFY_MEMORY } from '../memory/budgets.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { ComparisonRequest, ComparisonResult } from './hash-exchange.js';

/**
 * Compares two devices of this host byte by byte: no digests are needed where both are at hand. Throws DeviceError for
 * either, and what `checkFarSize` throws.
 */
export async function compareBytes(
  { near, extents, unit, checkFarSize }: ComparisonRequest,
  far: BlockDevice,
  env: Surroundings,
): Promise<ComparisonResult> {
  await far.refresh();
  checkFarSize(far.size);
  const comparedBytes = sumLengths(extents());
  const differing = new ChunkSet();
  // Each side has its own memory, so that neither reads so far ahead that the other cannot read at all.
  const read = (device: BlockDevice) =>
    readBlocks(device, extents(), MAX_BLOCK_LENGTH, new BufferPool(VERIFY_MEMORY).lend);
  const others = read(far);
  env.progress.start(comparedBytes);
  try {
    for await (const block of read(near)) {
      try {
        env.signal.throwIfAborted();
        const other = await others.next();
        if (other.done === true || other.value.offset !== block.offset)
          throw new Error(`no bytes at ${block.offset}`);
        try {
          noteDifferences(block, other.value.data.bytes, unit, differing);
        } finally {
          other.value.data.release();
        }
        env.progress.advance(block.data.bytes.length);
      } finally {
        block.data.release();
      }
    }
  } finally {
    env.progress.stop();
    await others.return(undefined);
  }
  const { size } = near;
  const tracking = { granularity: unit, trackedSize: size, volumeSize: size };
  return { comparedBytes, differing: new ChangeSet(tracking, differing) };
}

/** Notes which units differ. */
function noteDifferences(
  { offset, data: { bytes: near } }: ReadBlock,
  far: Buffer,
  unit: number,
  differing: ChunkSet,
): void {
  if (near.equals(far)) return;
  for (const part of splitExtents([{ offset, length: near.length }], unit)) {
    const [from, to] = [part.offset - offset, part.offset - offset + part.length];
    if (near.compare(far, from, to, from, to) !== 0) differing.add(Math.floor(part.offset / unit));
  }
}
