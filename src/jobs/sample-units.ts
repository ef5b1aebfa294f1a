import { ChangeSet } from '../changes/change-set.js';
import { ChunkSet } from '../changes/chunk-set.js';

/** Large enough that a disk does not mostly seek, small enough to be everywhere in a volume. Bytes. */
const UNIT = 1024 * 1024;

/**
 * Chooses a share of a volume at random: in units of 1 MiB, each as likely as the other, exactly so many that they
 * make `percent` of the volume (rounded up). Drawn anew each time.
 *
 * @param random gives numbers from 0 to below 1
 */
export function sampleUnits(volumeSize: number, percent: number, random = Math.random): ChangeSet {
  const units = Math.ceil(volumeSize / UNIT);
  const chosen = new ChunkSet();
  let missing = Math.ceil((units * percent) / 100);
  for (let unit = 0; unit < units && missing > 0; unit++) {
    if (random() * (units - unit) >= missing) continue;
    chosen.add(unit);
    missing -= 1;
  }
  return new ChangeSet(UNIT, volumeSize, volumeSize, chosen);
}
