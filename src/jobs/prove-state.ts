import type { BlockDevice } from '../device/block-device.js';
import type { Surroundings } from '../host/surroundings.js';
import { openArchive, type Archive } from '../snapback/archive.js';
import { ArchiveProofs, touches } from '../snapback/proofs.js';
import type { States, Undo } from '../snapback/states.js';
import { holdsProof } from '../target/base-check.js';

/**
 * Whether a target holds all that an undo says of its base, which must be something, and what the undos after it say
 * of the states before that, where nothing has changed since: else blocks that only came and went could make one state
 * pass for another. Reads all of them. Throws what reading archives throws, DeviceError.
 */
export async function isProvedBase(
  target: BlockDevice,
  head: Undo,
  states: States,
  about: Surroundings,
): Promise<boolean> {
  const later: Archive[] = [];
  const seen = new Set<string>();
  let proved = 0;
  for (let undo: Undo | undefined = head; undo !== undefined; undo = states.undosFrom(undo.result)[0]) {
    if (seen.has(undo.base)) break;
    seen.add(undo.base);
    const archive = await openArchive(undo.archive.path);
    for (const proof of await ArchiveProofs.read(archive)) {
      about.signal.throwIfAborted();
      if (later.some(({ extents }) => touches(extents, proof))) continue;
      if (proof.offset + proof.length > target.size || !(await holdsProof(target, proof))) return false;
      proved += 1;
    }
    // Of the undo itself nothing could be told.
    if (proved === 0) return false;
    later.push(archive);
  }
  return true;
}
