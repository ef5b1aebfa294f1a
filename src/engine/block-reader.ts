import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { endOf, splitExtents, type Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';

/** Reads under way at once: enough to keep a disk busy; libuv has only four threads anyway. */
const READS_AHEAD = 8;

/** Bytes read from a volume. The consumer releases the data. */
export interface ReadBlock {
  readonly offset: number;
  readonly data: LentBuffer;
}

/**
 * A gap between two blocks is read with them if it is at most this large, or as large as the next block: that is
 * cheaper than another read.
 */
const SMALL_GAP = 16 * 1024;

/**
 * Reads ascending extents of a volume as ascending blocks of at most `blockLimit` bytes, some of them ahead;
 * neighbours are read together. Throws DeviceError.
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
        // The failure is reported in its turn, or not at all if an earlier one failed.
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

/** Blocks that are read together, with the gaps between them. */
export interface Span<Block extends Extent = Extent> extends Extent {
  readonly blocks: readonly Block[];
}

/** Ascending blocks in spans of at most `limit` bytes; one block may be longer. */
export function* joinNeighbours<Block extends Extent>(
  blocks: Iterable<Block>,
  limit: number,
): Generator<Span<Block>, undefined> {
  let joined: Block[] = [];
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
  const loan = await readTogether(device, { offset, length, blocks }, lend);
  const bytesOf = (block: Extent) => loan.bytes.subarray(block.offset - offset, endOf(block) - offset);
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

/** Reads a span in one piece into lent memory. Throws DeviceError. */
export async function readTogether(
  device: ReadableVolume,
  { offset, length, blocks }: Span,
  lend: LendBuffer,
): Promise<LentBuffer> {
  const loan = await lend(length);
  try {
    await device.readAt(loan.bytes, offset).catch(async () => {
      // The bad part may be in a gap, whose bytes are not needed; otherwise this names the right block in the error.
      for (const block of blocks) {
        const bytes = loan.bytes.subarray(block.offset - offset, endOf(block) - offset);
        await device.readAt(bytes, block.offset);
      }
    });
    return loan;
  } catch (error) {
    loan.release();
    throw error;
  }
}
