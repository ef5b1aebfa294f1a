import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { deviceNumberOf, type DeviceNumber } from '../device/device-facts.js';
import { isDeviceNumber } from '../lvm/device-node.js';

/** Identifies a file, whatever its name. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
}

/** Devices, and image files that devices or file systems are on. */
export interface Ground {
  readonly numbers: ReadonlySet<DeviceNumber>;
  readonly files: readonly FileIdentity[];
}

/**
 * Everything underneath a device, without the device itself: what it is mapped to, a partition's disk, a loop device's
 * file, a file's file system. Does not include what sysfs does not show.
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

/**
 * The devices directly underneath a device: what it is mapped to, a partition's disk, the device that a loop device
 * shows.
 */
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

/** A device and its names. */
export interface NamedDevice {
  readonly number: DeviceNumber;
  readonly kernelName: string;
  /** Null: not a device-mapper device. */
  readonly dmName: string | null;
}

/** The devices on top of a device (`holders`), or underneath it (`slaves`). */
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

/** The disk of a partition; null: the device is not a partition. */
export async function diskOf(number: DeviceNumber): Promise<NamedDevice | null> {
  const folder = `/sys/dev/block/${number}`;
  if ((await readAttribute(`${folder}/partition`)) === null) return null;
  // The parent of the link's target, so the path must not be normalized.
  return (await nameAll([`${folder}/..`]))[0] ?? null;
}

/** What a loop device shows: an image file's identity, or a block device's number; null: not a loop device. */
async function backingFileOf(number: DeviceNumber): Promise<FileIdentity | DeviceNumber | null> {
  const path = await readAttribute(`/sys/dev/block/${number}/loop/backing_file`);
  const stats = path === null ? null : await stat(path).catch(() => null);
  if (stats === null) return null;
  return stats.isBlockDevice() ? deviceNumberOf(stats) : { dev: stats.dev, ino: stats.ino };
}

/** Devices by their folders in sysfs, without those that disappeared meanwhile. */
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

/** The text of a file in sysfs without its line end; null: there is no such file. */
export async function readAttribute(path: string): Promise<string | null> {
  const text = await readFile(path, 'utf8').catch(() => null);
  return text === null ? null : text.replace(/\n$/, '');
}
