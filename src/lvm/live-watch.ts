import { readWrittenSectors, type DeviceNumber } from '../device/device-facts.js';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from './device-mapper.js';

/** Watches whether anyone could write to a device, or did, while we read it. */
export class LiveWatch {
  private constructor(
    private readonly spawner: Spawner,
    private readonly number: DeviceNumber,
    /** Whether someone had it open (mounted, or by a program) when the watch began. */
    readonly wasOpen: boolean,
    private readonly writtenSectors: number,
  ) {}

  /** Begins, before we open the device ourselves. */
  static async begin(spawner: Spawner, number: DeviceNumber): Promise<LiveWatch> {
    const openCount = await countOpens(spawner, number);
    return new LiveWatch(spawner, number, openCount > 0, await readWrittenSectors(number));
  }

  /** While we have it open once: whether nobody else had, then or now, and nothing was written in between. */
  async sawNoWriter(): Promise<boolean> {
    if (this.wasOpen || (await countOpens(this.spawner, this.number)) > 1) return false;
    return await this.sawNoWrite();
  }

  /** Whether nothing was written, whoever has it open: a write that is under way is not counted yet. */
  async sawNoWrite(): Promise<boolean> {
    return (await readWrittenSectors(this.number)) === this.writtenSectors;
  }
}

/** How often device-mapper says that a device is open; a device that is none of its own may always be. */
async function countOpens(spawner: Spawner, number: DeviceNumber): Promise<number> {
  try {
    return (await new DeviceMapper(spawner).info(number)).openCount;
  } catch (error) {
    if (error instanceof CommandError && error.status !== null) return Infinity;
    throw error;
  }
}
