import { isZero } from '../bytes/contents.js';
import { type Extent, endOf, splitExtents } from '../bytes/extent.js';
import { findData, discardBlocks, punchHole } from '../host/system-calls.js';
import { allocateAligned, freeAligned, roundDown, roundUp } from '../memory/aligned-memory.js';
import type { BlockDevice } from './block-device.js';
/**
 * How much we asked the kernel to write to a device. Whatever it counts beyond that, someone else wrote. Bytes. A
 * failed write counts in full, because it is not known how much of it the kernel counted.
 */
export class OwnWrites {
  written = 0;
  discarded = 0;
  private hasFailedToPunch = false;

  /** The kernel counts a punched hole as written. */
  addHole(length: number, isMade: boolean): void {
    // After a first failure the kernel does not pass holes to the device any more, and so counts no more failures.
    if (isMade || !this.hasFailedToPunch) this.written += length;
    if (!isMade) this.hasFailedToPunch = true;
  }
}

/** The ranges of an open file that hold data. Between them are holes, which read as zeroes. */
export async function* dataExtentsOf(fd: number, size: number): AsyncGenerator<Extent> {
  for (let at = 0; at < size;) {
    const found = await findData(fd, at, size);
    if (found === null) return;
    const end = Math.min(found.to, size);
    if (end > found.from) yield { offset: found.from, length: end - found.from };
    at = Math.max(end, at + 1);
  }
}

const PIECE = 1024 * 1024;

/** What an open device or file can do. Bytes. */
export interface Deallocation {
  readonly isBlockDevice: boolean;
  /** The size of its sectors; not used for a file. */
  readonly alignment: number;
  /** Whether it may support punching holes. */
  readonly takesHoles: boolean;
  /** Aligned multiples of this read as zeroes once they are discarded; null: a discard does not ensure that. */
  readonly discardUnit: number | null;
}

/** The freed part of a range. Unless `isSure`, it has to be checked whether it reads as zeroes. */
export interface Deallocated extends Extent {
  readonly isSure: boolean;
}

/**
 * Frees the space of a range where that leaves zeroes, and returns that part; null: nothing could be freed. A punched
 * hole always reads as zeroes. Discarded chunks read as zeroes only if the kernel passes them to the device whole: it
 * may silently split chunks whose size is not a power of two (Linux 6.1), and the device keeps all of a chunk that is
 * only partly discarded.
 */
export async function deallocate(
  fd: number,
  { offset, length }: Extent,
  { isBlockDevice, alignment, takesHoles, discardUnit }: Deallocation,
  own: OwnWrites,
): Promise<Deallocated | null> {
  const unit = isBlockDevice ? alignment : 1;
  const hole = wholeUnits({ offset, length }, unit);
  if (hole !== null && takesHoles) {
    const isMade = await punchHole(fd, hole.offset, hole.length);
    own.addHole(hole.length, isMade);
    if (isMade) return { ...hole, isSure: true };
  }
  if (!isBlockDevice || discardUnit === null) return null;
  const chunks = wholeUnits({ offset, length }, discardUnit);
  if (chunks === null) return null;
  own.discarded += chunks.length;
  if (!(await discardBlocks(fd, chunks.offset, chunks.length))) return null;
  return { ...chunks, isSure: false };
}

/** Reads a discarded range and overwrites what is not zero. Unmapped parts cost no read of the disk. */
export async function zeroLeftOvers(
  device: Pick<BlockDevice, 'readAt' | 'zero'>,
  discarded: Extent,
): Promise<void> {
  const bytes = allocateAligned(PIECE);
  try {
    for (const { offset, length } of splitExtents([discarded], PIECE)) {
      const piece = bytes.subarray(0, length);
      await device.readAt(piece, offset);
      if (!isZero(piece)) await device.zero(offset, length);
    }
  } finally {
    freeAligned(bytes);
  }
}

function wholeUnits(extent: Extent, unit: number): Extent | null {
  const offset = roundUp(extent.offset, unit);
  const length = roundDown(endOf(extent), unit) - offset;
  return length > 0 ? { offset, length } : null;
}
