import { readFile, readlink, realpath } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { basename, dirname } from 'node:path';
import { DeviceError } from '../errors.js';

/** What sysfs says about a block device. Sizes in bytes. */
export interface DeviceFacts {
  /** The kernel's own name, such as `dm-3` or `sda1`. */
  readonly kernelName: string;
  readonly size: number;
  readonly logicalBlockSize: number;
  /** Whether it may be able to zero a range by itself, which is what punching a hole asks it to do. */
  readonly takesHoles: boolean;
}

/** A device number as `major:minor`, as dmsetup and sysfs write it. */
export type DeviceNumber = `${number}:${number}`;

/** The number of the device that was stat'ed. With a file's `dev` as `rdev`: the number of its file system. */
export function deviceNumberOf({ rdev }: Pick<Stats, 'rdev'>): DeviceNumber {
  // glibc's encoding of dev_t: 12 bits of minor low, then major, then the rest of the minor.
  const major = Math.floor(rdev / 0x100) % 0x1000;
  const minor = (rdev % 0x100) + Math.floor(rdev / 0x100000) * 0x100;
  return `${major}:${minor}`;
}

/** Reads a block device's facts by its number, because its name may be a link, unusual or gone. Throws DeviceError. */
export async function readDeviceFacts(number: DeviceNumber): Promise<DeviceFacts> {
  const link = `/sys/dev/block/${number}`;
  try {
    const folder = await realpath(link);
    const sectors = Number(await readFile(`${folder}/size`, 'latin1'));
    return {
      kernelName: basename(await readlink(link)),
      // sysfs counts in sectors of 512 bytes, whatever the device's sector size.
      size: sectors * 512,
      logicalBlockSize: Number(await readQueue(folder, 'logical_block_size')),
      takesHoles: Number(await readQueue(folder, 'write_zeroes_max_bytes')) > 0,
    };
  } catch (error) {
    throw new DeviceError(`block device ${number}`, 'stat', null, error);
  }
}

/**
 * How many sectors were written or discarded since the device was activated: fields 7 and 14 of its `stat`. The number
 * of writes is not enough: it counts an empty flush, and does not count a discard.
 */
export async function readWrittenSectors(number: DeviceNumber): Promise<number> {
  const fields = await readCounts(number);
  return Number(fields[6]) + Number(fields[13] ?? 0);
}

/** How many sectors were read since the device was activated: field 3 of its `stat`. */
export async function readReadSectors(number: DeviceNumber): Promise<number> {
  return Number((await readCounts(number))[2]);
}

/** The fields of a device's `stat`. Throws DeviceError. */
async function readCounts(number: DeviceNumber): Promise<string[]> {
  const path = `/sys/dev/block/${number}/stat`;
  try {
    return (await readFile(path, 'latin1')).trim().split(/\s+/);
  } catch (error) {
    throw new DeviceError(path, 'read', null, error);
  }
}

/** Whether the kernel refuses all writes to a device. */
export async function isReadOnly(number: DeviceNumber): Promise<boolean> {
  const path = `/sys/dev/block/${number}/ro`;
  try {
    return (await readFile(path, 'latin1')).trim() === '1';
  } catch (error) {
    throw new DeviceError(path, 'read', null, error);
  }
}

/** A partition has no queue of its own: its disk's queue, one folder up, applies. */
async function readQueue(folder: string, name: string): Promise<string> {
  try {
    return await readFile(`${folder}/queue/${name}`, 'latin1');
  } catch {
    return await readFile(`${dirname(folder)}/queue/${name}`, 'latin1');
  }
}
