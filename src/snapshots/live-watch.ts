import { stat } from 'node:fs/promises';
import {
  readWrittenSectors,
  type DeviceNumber,
  deviceNumberOf,
  readDeviceFacts,
} from '../device/device-facts.js';
import { CommandError, DeviceError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { countsWrites } from '../lvm/counted-writes.js';
import { DeviceMapper } from '../lvm/device-mapper.js';

/** Watches whether anyone could write to a device, or did, while we read it. */
export class LiveWatch {
  private constructor(
    private readonly spawner: Spawner,
    private readonly number: DeviceNumber,
    /** Whether something had it open (a mount, a program) when the watch began. */
    readonly wasOpen: boolean,
    /** Null if the kernel does not count them: then nothing shows who writes. */
    private readonly writtenSectors: number | null,
  ) {}

  /** Begins the watch. Call it before opening the device. */
  static async begin(spawner: Spawner, number: DeviceNumber): Promise<LiveWatch> {
    const openCount = await countOpens(spawner, number);
    return new LiveWatch(spawner, number, openCount > 0, await readCountedSectors(number));
  }

  /** While we have it open once: whether nothing else has, or had at the start, and nothing was written in between. */
  async sawNoWriter(): Promise<boolean> {
    if (this.wasOpen || (await countOpens(this.spawner, this.number)) > 1) return false;
    return await this.sawNoWrite();
  }

  /** Whether nothing was written, even if something has it open: a write that is under way is not counted yet. */
  async sawNoWrite(): Promise<boolean> {
    const written = await readCountedSectors(this.number);
    return written !== null && written === this.writtenSectors;
  }
}

/** How many sectors were written to a device; null if the kernel does not count them. */
export async function readCountedSectors(number: DeviceNumber): Promise<number | null> {
  return (await countsWrites(number)) ? await readWrittenSectors(number) : null;
}

/** How many times a device is open according to device-mapper; other devices count as always open. */
async function countOpens(spawner: Spawner, number: DeviceNumber): Promise<number> {
  try {
    return (await new DeviceMapper(spawner).info(number)).openCount;
  } catch (error) {
    if (error instanceof CommandError && error.status !== null) return Infinity;
    throw error;
  }
}

/** Watches a volume while it is read, and says whether anything wrote to it. */
export type VolumeWatch = Pick<LiveWatch, 'sawNoWriter'>;

/**
 * Begins to watch the volume or file at a path, before we open it ourselves. Only device-mapper tells who has a device
 * open; for other devices the writes are counted, and for an image file the time of its last change is compared.
 * Throws DeviceError.
 */
export async function watchVolume(spawner: Spawner, path: string): Promise<VolumeWatch> {
  const stats = await statOf(path);
  if (!stats.isBlockDevice()) return await watchFigure(async () => (await statOf(path)).mtimeMs);
  const number = deviceNumberOf(stats);
  const { kernelName } = await readDeviceFacts(number);
  if (kernelName.startsWith('dm-')) return await LiveWatch.begin(spawner, number);
  return await watchFigure(() => readCountedSectors(number));
}

/** @param read returns null if there is no figure */
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
