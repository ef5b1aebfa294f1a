import { ChunkSet } from '../bytes/chunk-set.js';
import { ChangeSet } from '../changes/change-set.js';
import type { ReadWatch } from '../changes/change-source.js';
import type { BlockDevice } from '../device/block-device.js';
import type { Surroundings } from '../host/surroundings.js';
import { findSourcePath } from '../lvm/volume-path.js';
import { watchVolume } from '../snapshots/live-watch.js';
import { openSource } from './open-source.js';
import { openVolumePart } from './volume-part.js';

/** A volume of this host that is only read: all of it, or what changed in it. */
export interface OpenVolume {
  readonly device: BlockDevice;
  /** What changed since the named snapshot; null if no snapshot was named. */
  readonly changes: ChangeSet | null;
  readonly watch: Omit<ReadWatch, 'dataProof'>;
}

/**
 * Opens a volume or an image file by the name that the user gave (a path, or `vg/lv`), with what changed in it since
 * `snapshot`, if that is given. Throws DeviceError, SnapshotError, UsageError, CommandError.
 */
export async function openVolume(
  name: string,
  snapshot: string | null,
  env: Surroundings,
): Promise<OpenVolume> {
  if (snapshot === null) return await openWhole(name, env);
  const { volumes, watch } = await openSource(env, { kind: 'snapshot', name: snapshot, dataSource: name });
  try {
    return { device: volumes.data, changes: await watch.readChanges(), watch };
  } catch (error) {
    await watch.close();
    throw error;
  }
}

async function openWhole(name: string, env: Surroundings): Promise<OpenVolume> {
  const path = await findSourcePath(env.spawner, name);
  // The watch must begin before we open the device ourselves: our own open would count.
  const live = await watchVolume(env.spawner, path);
  const device = await openVolumePart(path, path, env);
  return {
    device,
    changes: null,
    watch: {
      checkValid: () => Promise.resolve(),
      isConsistent: () => live.sawNoWriter(),
      close: () => device.close(),
    },
  };
}

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
  return new ChangeSet({ granularity: UNIT, trackedSize: volumeSize, volumeSize }, chosen);
}
