import { readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { CommandError } from '../errors.js';
import { SECTOR } from '../extent.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from './device-mapper.js';
import { isDeviceNumber } from './device-node.js';

/**
 * In which unit a device can be discarded so that it reads as zeroes afterwards: a thin volume's chunk, in bytes.
 * Null of any other device; of a volume with an external origin, whose bytes would show; and of a pool that does not
 * zero what it provisions: there the next write into a discarded chunk would bring up what others left. Null too
 * where device-mapper cannot be asked.
 */
export async function findDiscardUnit(spawner: Spawner, number: DeviceNumber): Promise<number | null> {
  if (!(await readDeviceFacts(number)).kernelName.startsWith('dm-')) return null;
  try {
    const mapper = new DeviceMapper(spawner);
    const [thin, ...rest] = await mapper.table(number);
    const [pool, , externalOrigin] = thin?.words ?? [];
    if (thin?.type !== 'thin' || rest.length > 0 || externalOrigin !== undefined || !isDeviceNumber(pool))
      return null;
    const [, , chunkSectors, ...features] = (await mapper.table(pool))[0]?.words ?? [];
    return features.includes('skip_block_zeroing') ? null : Number(chunkSectors) * SECTOR || null;
  } catch (error) {
    if (error instanceof CommandError) return null;
    throw error;
  }
}
