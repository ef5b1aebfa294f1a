import { stat } from 'node:fs/promises';
import { deviceNumberOf, readDeviceFacts } from '../device/device-facts.js';
import { DeviceError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { LiveWatch, readCountedSectors } from './live-watch.js';

/** Watches a volume that is read: says whether nobody wrote to it meanwhile. */
export type VolumeWatch = Pick<LiveWatch, 'sawNoWriter'>;

/**
 * Begins to watch whatever a path names, before we open it ourselves. Who has a device open only device-mapper
 * tells; of another device its writes are counted, and an image file's last change is looked at. Throws DeviceError.
 */
export async function watchVolume(spawner: Spawner, path: string): Promise<VolumeWatch> {
  const stats = await statOf(path);
  if (!stats.isBlockDevice()) return await watchFigure(async () => (await statOf(path)).mtimeMs);
  const number = deviceNumberOf(stats);
  const { kernelName } = await readDeviceFacts(number);
  if (kernelName.startsWith('dm-')) return await LiveWatch.begin(spawner, number);
  return await watchFigure(() => readCountedSectors(number));
}

/** @param read null where there is none to be had */
async function watchFigure(read: () => Promise<number | null>): Promise<VolumeWatch> {
  const before = await read();
  return { sawNoWriter: async () => before !== null && (await read()) === before };
}

async function statOf(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    throw new DeviceError(path, 'stat', null, error);
  }
}
