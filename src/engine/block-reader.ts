import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { endOf, splitExtents, type Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';

/** Reads under way at once: enough to keep a disk busy, and libuv has no more than four threads anyway. */
const READS_AHEAD = 8;

/** Bytes read from a volume. The consumer releases the data. */
export interface ReadBlock {
  readonly offset: number;
  readonly data: LentBuffer;
}

/** Bytes between two blocks are read with them where they are fewer, or fewer than the next block's: cheaper than another read. */
const SMALL_GAP = 16 * 1024;

/**
 * Reads ascending extents of a volume as ascending blocks of at most `blockLimit` bytes, some ahead of whoever
 * takes them; neighbours in one go. Throws DeviceError.
 */
export async function* readBlocks(
  device: ReadableVolume,
  extents: Iterable<Extent>,
  blockLimit: number,
  lend: LendBuffer,
): AsyncGenerator<ReadBlock> {
  const spans = joinNeighbours(splitExtents(extents, blockLimit), blockLimit);
  const ahead: Promise<ReadBlock[]>[] = [];
  const taken: ReadBlock[] = [];
  try {
    for (;;) {
      for (let next = spans.next(); next.done !== true; next = spans.next()) {
        const read = readSpan(device, next.value, lend);
        // Its failure is met when its turn comes, or not at all when an earlier one failed.
        read.catch(() => undefined);
        ahead.push(read);
        if (ahead.length === READS_AHEAD) break;
      }
      const first = ahead.shift();
      if (first === undefined) return;
      taken.push(...(await first));
      for (let block = taken.shift(); block !== undefined; block = taken.shift()) yield block;
    }
  } finally {
    for (const left of await Promise.allSettled(ahead)) {
      if (left.status === 'fulfilled') taken.push(...left.value);
    }
    for (const { data } of taken) data.release();
  }
}

/** Blocks that are read in one go, with what lies between them. */
interface Span extends Extent {
  readonly blocks: readonly Extent[];
}

function* joinNeighbours(blocks: Iterable<Extent>, limit: number): Generator<Span, undefined> {
  let joined: Extent[] = [];
  let offset = 0;
  let end = 0;
  for (const block of blocks) {
    const isNear = block.offset - end <= Math.max(SMALL_GAP, block.length);
    if (joined.length > 0 && !(isNear && endOf(block) - offset <= limit)) {
      yield { offset, length: end - offset, blocks: joined };
      joined = [];
    }
    if (joined.length === 0) ({ offset } = block);
    joined.push(block);
    end = endOf(block);
  }
  if (joined.length > 0) yield { offset, length: end - offset, blocks: joined };
}

async function readSpan(
  device: ReadableVolume,
  { offset, length, blocks }: Span,
  lend: LendBuffer,
): Promise<ReadBlock[]> {
  const loan = await lend(length);
  const bytesOf = (block: Extent) => loan.bytes.subarray(block.offset - offset, endOf(block) - offset);
  try {
    await device.readAt(loan.bytes, offset).catch(async () => {
      // What is bad may lie between the blocks, where nothing is needed; else the block that is meant is named.
      for (const block of blocks) await device.readAt(bytesOf(block), block.offset);
    });
  } catch (error) {
    loan.release();
    throw error;
  }
  let held = blocks.length;
  return blocks.map((block) => {
    let isHeld = true;
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      held -= 1;
      if (held === 0) loan.release();
    };
    return { offset: block.offset, data: { bytes: bytesOf(block), release } };
  });
}
