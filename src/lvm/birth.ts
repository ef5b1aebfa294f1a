import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { findVolume } from './lvs.js';
import type { DmSnapshot } from './snapshot.js';

/**
 * When LVM made a snapshot, classic or thin: to the second, in milliseconds since 1970. Null where another made it, or
 * LVM does not say.
 */
export async function readBirth(
  spawner: Spawner,
  { name, uuid }: Pick<DmSnapshot, 'name' | 'uuid'>,
): Promise<number | null> {
  if (uuid?.startsWith('LVM-') !== true) return null;
  try {
    const row = await findVolume(spawner, ['lv_time'], name);
    const seconds = Number(row?.lv_time);
    return seconds > 0 ? seconds * 1000 : null;
  } catch (error) {
    if (error instanceof CommandError) return null;
    throw error;
  }
}
