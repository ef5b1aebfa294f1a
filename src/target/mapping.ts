import type { DeviceNumber } from '../device/device-facts.js';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { readAttribute } from './device-tree.js';
import { LVM_UUID } from './write-stamp.js';

/** One target of a volume's table, as `start sectors type …`. */
export type Mapping = readonly string[];

/** Where an LVM volume's bytes lie, by its table; null of anything else, and where device-mapper cannot be asked. */
export async function mappingOf(spawner: Spawner, number: DeviceNumber): Promise<Mapping | null> {
  const uuid = await readAttribute(`/sys/dev/block/${number}/dm/uuid`);
  if (uuid?.startsWith(LVM_UUID) !== true) return null;
  try {
    const targets = await new DeviceMapper(spawner).table(number);
    return targets.map(({ startSector, sectors, type, words }) =>
      [startSector, sectors, type, ...words].join(' '),
    );
  } catch (error) {
    if (error instanceof CommandError) return null;
    throw error;
  }
}

/** Whether all bytes lie where they lay, in a volume that may have become larger. */
export function isGrownFrom(before: Mapping, now: Mapping): boolean {
  return before.every((was, index) => {
    const is = now[index] ?? '';
    if (was === is) return true;
    const [start, sectors, ...where] = was.split(' ');
    const [startNow, sectorsNow, ...whereNow] = is.split(' ');
    const isLast = index === before.length - 1;
    const isThere = start === startNow && where.join(' ') === whereNow.join(' ');
    return isLast && isThere && Number(sectorsNow) >= Number(sectors);
  });
}
