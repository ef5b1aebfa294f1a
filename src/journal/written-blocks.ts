import { crc32, isZero } from '../bytes/contents.js';
import { endOf, type Extent, SECTOR } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { BaseMismatchError } from '../errors.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { AnnouncedWrite, JournalContents, ResumePlace } from './journal-reader.js';
import type { OldBytes } from './old-bytes.js';

/** How many blocks to check at once: one at a time, a million small blocks would take minutes. */
const LOOKED_AT_ONCE = 16;

/**
 * Whether a target holds everything that was written up to a place of its journal. Throws DeviceError, the signal's
 * reason.
 */
export async function holdsAllBefore(
  place: ResumePlace,
  target: BlockDevice,
  { writes }: JournalContents,
  signal: AbortSignal,
): Promise<boolean> {
  let holdsAll = true;
  await lookAt(target, writes.slice(0, place.writeCount), signal, (write, _part, bytes) => {
    holdsAll &&= holdsNew(write, bytes);
    return Promise.resolve();
  });
  return holdsAll;
}

/**
 * Checks that every announced write is undone, done, or torn by the crash. Throws BaseMismatchError if a block holds
 * anything else; also what reading old bytes throws, DeviceError, the signal's reason.
 *
 * @param advice what to do about a block that holds anything else
 */
export async function checkWrites(
  target: BlockDevice,
  { writes, old }: { readonly writes: readonly AnnouncedWrite[]; readonly old: OldBytes },
  advice: string,
  signal: AbortSignal,
): Promise<void> {
  await lookAt(target, withoutRewritten(writes), signal, async (write, part, bytes) => {
    if (holdsNew(write, bytes)) return;
    const before = await old.read(part);
    if (bytes.equals(before)) return;
    // After the last flush, a crash may leave any mixture of old and new sectors.
    if (!write.isFlushed && hasOldSector(bytes, before)) return;
    throw new BaseMismatchError(
      target.path,
      part.offset,
      `neither the old nor the new bytes are here: someone wrote to it since. Nothing was taken back; ${advice}`,
    );
  });
}

/** Reads what a target holds now in the place of the writes, several blocks at once. Throws the first error. */
async function lookAt(
  target: BlockDevice,
  writes: readonly AnnouncedWrite[],
  signal: AbortSignal,
  look: (write: AnnouncedWrite, part: Extent, bytes: Buffer) => Promise<void>,
): Promise<void> {
  let looks: Promise<void>[] = [];
  const finish = async (): Promise<void> => {
    const ends = await Promise.allSettled(looks);
    looks = [];
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  };
  for (const write of writes) {
    for (const part of partsOf(write)) {
      looks.push(readPart(target, part).then((bytes) => look(write, part, bytes)));
      if (looks.length < LOOKED_AT_ONCE) continue;
      await finish();
      signal.throwIfAborted();
    }
  }
  await finish();
}

async function readPart(target: BlockDevice, { offset, length }: Extent): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await target.readAt(bytes, offset);
  return bytes;
}

/** Leaves out ranges that were written more than once, because they can hold any of those contents. */
function withoutRewritten(writes: readonly AnnouncedWrite[]): readonly AnnouncedWrite[] {
  const sorted = [...writes].sort((a, b) => a.offset - b.offset);
  let endBefore = 0;
  return sorted.filter((write, index) => {
    const after = sorted[index + 1];
    // Not only the previous write can overlap this one: a longer one that starts earlier can, too.
    const isAlone = endBefore <= write.offset && !(after && endOf(write) > after.offset);
    endBefore = Math.max(endBefore, endOf(write));
    return isAlone;
  });
}

function* partsOf(write: AnnouncedWrite): Generator<Extent> {
  for (let offset = write.offset; offset < endOf(write); offset += MAX_BLOCK_LENGTH) {
    yield { offset, length: Math.min(MAX_BLOCK_LENGTH, endOf(write) - offset) };
  }
}

function holdsNew(write: AnnouncedWrite, bytes: Buffer): boolean {
  return write.zeroes ? isZero(bytes) : crc32(bytes) === write.crc;
}

function hasOldSector(bytes: Buffer, before: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += SECTOR) {
    if (bytes.subarray(at, at + SECTOR).equals(before.subarray(at, at + SECTOR))) return true;
  }
  return false;
}
