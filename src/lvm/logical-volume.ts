import type { Spawner } from '../host/spawner.js';
import { findVolume, type LvsRow } from './lvs.js';

/** What LVM says of a logical volume. */
export interface LogicalVolume {
  /** `vg/lv`. */
  readonly fullName: string;
  readonly active: boolean;
  /** Whether it is a snapshot that goes, or an origin that a snapshot goes, back into the origin. */
  readonly merging: boolean;
}

/** The columns that tell of a merge. */
export const MERGE_COLUMNS = ['lv_merging', 'lv_attr'] as const;

/**
 * Whether a volume is a snapshot that goes, or an origin that a snapshot goes, back into the origin. Of a thin origin
 * LVM 2.03.16 and 2.03.31 leave lv_merging empty: only the capital letter of its kind tells.
 */
export function isMerging({ lv_merging, lv_attr }: LvsRow<(typeof MERGE_COLUMNS)[number]>): boolean {
  return lv_merging !== '' || lv_attr.startsWith('O');
}

/**
 * Asks LVM about a volume in any form that it takes (`vg/lv`, `/dev/vg/lv`, `/dev/mapper/vg-lv`); null where it has
 * none of that name. Throws CommandError as `findVolume` does.
 */
export async function findLogicalVolume(spawner: Spawner, name: string): Promise<LogicalVolume | null> {
  const columns = ['lv_full_name', 'lv_active', ...MERGE_COLUMNS] as const;
  const volume = await findVolume(spawner, columns, name);
  if (volume === null) return null;
  return {
    fullName: volume.lv_full_name,
    active: volume.lv_active !== '',
    merging: isMerging(volume),
  };
}
