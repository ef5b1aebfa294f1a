import type { Spawner } from '../host/spawner.js';
import { findVolume } from './lvs.js';

/** What LVM says of a logical volume. */
export interface LogicalVolume {
  /** `vg/lv`. */
  readonly fullName: string;
  readonly active: boolean;
  /** Whether it is a snapshot that goes, or an origin that a snapshot goes, back into the origin. */
  readonly merging: boolean;
}

/**
 * Asks LVM about a volume in any form that it takes (`vg/lv`, `/dev/vg/lv`, `/dev/mapper/vg-lv`); null where it has
 * none of that name. Throws CommandError as `findVolume` does.
 */
export async function findLogicalVolume(spawner: Spawner, name: string): Promise<LogicalVolume | null> {
  const columns = ['lv_full_name', 'lv_active', 'lv_merging'] as const;
  const volume = await findVolume(spawner, columns, name);
  if (volume === null) return null;
  return {
    fullName: volume.lv_full_name,
    active: volume.lv_active !== '',
    merging: volume.lv_merging !== '',
  };
}
