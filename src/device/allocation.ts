import { isZero } from '../bytes/contents.js';
import { type Extent, endOf, splitExtents } from '../bytes/extent.js';
import { findData, discardBlocks, punchHole } from '../host/system-calls.js';
import { allocateAligned, freeAligned, roundDown, roundUp } from '../memory/aligned-memory.js';
import type { BlockDevice } from './block-device.js';
/**
 * What we asked the kernel to write to a device, so that what it counts beyond that is somebody else's. Bytes; of what
 * failed all that was asked for, as nobody knows how much of it was counted.
 */
export class OwnWrites {
  written = 0;
  discarded = 0;
  private hasFailedToPunch = false;

  /** A hole is written, as the kernel counts it. */
  addHole(length: number, isMade: boolean): void {
    // A device that took no hole once is asked for none any more: what fails from then on was not counted.
    if (isMade || !this.hasFailedToPunch) this.written += length;
    if (!isMade) this.hasFailedToPunch = true;
  }
}

/** The ranges of an open file that have bytes of their own: what lies between them are holes, which read as zeroes. */
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

/** What is known of an open device or file. Bytes. */
export interface Deallocation {
  readonly isBlockDevice: boolean;
  /** How large its sectors are; of a file nothing depends on it. */
  readonly alignment: number;
  /** Whether a hole can be punched into it; where that is not sure it is tried. */
  readonly takesHoles: boolean;
  /** What can be discarded so that it reads as zeroes: aligned multiples of this; null: nothing. */
  readonly discardUnit: number | null;
}

/** What was given back of a range; whether it reads as zeroes is sure, or has to be looked at. */
export interface Deallocated extends Extent {
  readonly isSure: boolean;
}

/**
 * Gives the room of a range back, as far as that can leave zeroes, and returns that part; null where it can be had of
 * none. A hole punched into a file or device reads as zeroes wherever the kernel grants it. Discarded chunks do where
 * the kernel hands them to the device whole: chunks that are no power of two it may cut, without a word (Linux 6.1),
 * and of a part of a chunk the device keeps everything.
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

/** Looks at a range that was discarded, and overwrites what is not zero. What is not mapped costs no read of a disk. */
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
