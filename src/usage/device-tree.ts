import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { deviceNumberOf, type DeviceNumber } from '../device/device-facts.js';
import { isDeviceNumber } from '../lvm/device-node.js';

/** A file by what no other name for it changes. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
}

/** Devices, and image files that devices or file systems lead to. */
export interface Ground {
  readonly numbers: ReadonlySet<DeviceNumber>;
  readonly files: readonly FileIdentity[];
}

/**
 * All that a device stands on, itself left out: what it is mapped to, a partition's disk, a loop device's file, a
 * file's file system. What sysfs does not show is passed over.
 */
export async function groundOf(start: DeviceNumber | FileIdentity): Promise<Ground> {
  const numbers = new Set<DeviceNumber>();
  const files: FileIdentity[] = [];
  const descend = async (number: DeviceNumber): Promise<void> => {
    if (numbers.has(number)) return;
    numbers.add(number);
    await visit(number);
  };
  const visit = async (number: DeviceNumber): Promise<void> => {
    for (const each of await devicesBelow(number)) await descend(each);
    const file = await backingFileOf(number);
    if (file === null || typeof file === 'string') return;
    files.push(file);
    await descend(deviceNumberOf({ rdev: file.dev }));
  };
  if (typeof start === 'string') await visit(start);
  else await descend(deviceNumberOf({ rdev: start.dev }));
  return { numbers, files };
}

/** The devices right below a device: what it is mapped to, a partition's disk, the device that a loop device shows. */
export async function devicesBelow(number: DeviceNumber): Promise<DeviceNumber[]> {
  const below = (await linkedDevices(number, 'slaves')).map((each) => each.number);
  const disk = await diskOf(number);
  if (disk !== null) below.push(disk.number);
  const shown = await backingFileOf(number);
  return typeof shown === 'string' ? [...below, shown] : below;
}

export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

/** A device and the name that its users know it by: device-mapper's, or else the kernel's. */
export interface NamedDevice {
  readonly number: DeviceNumber;
  readonly kernelName: string;
  /** Null where it is none of device-mapper's. */
  readonly dmName: string | null;
}

/** The devices that sit on a device (`holders`), or that it sits on (`slaves`). */
export async function linkedDevices(
  number: DeviceNumber,
  which: 'holders' | 'slaves',
): Promise<NamedDevice[]> {
  const folder = `/sys/dev/block/${number}/${which}`;
  const names = await readdir(folder).catch(() => []);
  return await nameAll(names.map((name) => `${folder}/${name}`));
}

/** A disk's partitions. */
export async function partitionsOf(number: DeviceNumber): Promise<NamedDevice[]> {
  const folder = `/sys/dev/block/${number}`;
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const inner = entries.filter((each) => each.isDirectory()).map((each) => `${folder}/${each.name}`);
  const partitions: string[] = [];
  for (const each of inner) if ((await readAttribute(`${each}/partition`)) !== null) partitions.push(each);
  return await nameAll(partitions);
}

/** The disk of a partition; null where the device is none. */
export async function diskOf(number: DeviceNumber): Promise<NamedDevice | null> {
  const folder = `/sys/dev/block/${number}`;
  if ((await readAttribute(`${folder}/partition`)) === null) return null;
  // The parent of where the link leads, so no path function may shorten it.
  return (await nameAll([`${folder}/..`]))[0] ?? null;
}

/** What a loop device shows: an image file's identity, or a block device's number; null where it is none. */
async function backingFileOf(number: DeviceNumber): Promise<FileIdentity | DeviceNumber | null> {
  const path = await readAttribute(`/sys/dev/block/${number}/loop/backing_file`);
  const stats = path === null ? null : await stat(path).catch(() => null);
  if (stats === null) return null;
  return stats.isBlockDevice() ? deviceNumberOf(stats) : { dev: stats.dev, ino: stats.ino };
}

/** Devices by their folders in sysfs; one that went meanwhile is left out. */
async function nameAll(folders: readonly string[]): Promise<NamedDevice[]> {
  const devices: NamedDevice[] = [];
  for (const folder of folders) {
    const number = (await readAttribute(`${folder}/dev`)) ?? '';
    if (!isDeviceNumber(number)) continue;
    const kernelName = (await realpath(folder).catch(() => folder)).replace(/^.*\//, '');
    devices.push({ number, kernelName, dmName: await readAttribute(`${folder}/dm/name`) });
  }
  return devices;
}

/** A file of sysfs without its line end; null where there is none. */
export async function readAttribute(path: string): Promise<string | null> {
  const text = await readFile(path, 'utf8').catch(() => null);
  return text === null ? null : text.replace(/\n$/, '');
}
