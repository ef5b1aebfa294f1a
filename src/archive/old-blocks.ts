import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { crc32, findDifferingRuns } from '../bytes/contents.js';
import type { Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import { readBlocks, type ReadBlock } from '../engine/block-reader.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { ArchiveBlock } from './pack-archive.js';

/** The unit in which two states are compared: equal units are left out. Bytes, a power of two. */
export const COMPARED_UNIT = 4096;

/**
 * The old bytes of the blocks that differ between two states of a volume, each block with a proof of the new bytes:
 * the blocks of an undo. Only `extents`, ascending and within both states, may differ. Throws DeviceError.
 */
export async function* oldBlocks(
  old: ReadableVolume,
  now: ReadableVolume,
  extents: () => Iterable<Extent>,
  lend: LendBuffer,
): AsyncGenerator<ArchiveBlock> {
  const news = readBlocks(now, extents(), MAX_BLOCK_LENGTH, lend);
  try {
    for await (const { offset, data } of readBlocks(old, extents(), MAX_BLOCK_LENGTH, lend)) {
      let blocks: ArchiveBlock[] = [];
      try {
        blocks = differences({ offset, data }, await takeNext(news, offset));
      } finally {
        if (blocks.length === 0) data.release();
      }
      yield* blocks;
    }
  } finally {
    await news.return(undefined);
  }
}

/** Both are cut in the same way, because they come from the same extents. */
async function takeNext(blocks: AsyncGenerator<ReadBlock>, offset: number): Promise<ReadBlock> {
  const next = await blocks.next();
  if (next.done === true) throw new Error(`no new bytes for the old ones at ${offset}`);
  if (next.value.offset === offset) return next.value;
  next.value.data.release();
  throw new Error(`new bytes at ${next.value.offset} for old ones at ${offset}`);
}

/** The parts of a block that differ; they share its memory. */
function differences({ offset, data }: ReadBlock, now: ReadBlock): ArchiveBlock[] {
  try {
    const runs = findDifferingRuns(data.bytes, now.data.bytes, COMPARED_UNIT, offset);
    const share = sharedBy(data, runs.length);
    return runs.map(({ offset: at, length }) => {
      const part = (bytes: Buffer) => bytes.subarray(at - offset, at - offset + length);
      const proof = { offset: at, length, crc: crc32(part(now.data.bytes)) };
      return { kind: 'data', offset: at, length, data: { bytes: part(data.bytes), release: share() }, proof };
    });
  } finally {
    now.data.release();
  }
}

/** Releases the memory once all of its users have released it. */
function sharedBy(data: LentBuffer, count: number): () => () => void {
  let held = count;
  return () => {
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      held -= 1;
      if (held === 0) data.release();
    };
  };
}
