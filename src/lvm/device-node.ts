import { readdir, readFile, stat } from 'node:fs/promises';
import { deviceNumberOf, readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { DeviceError, NoSnapshotError, SnapshotError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { UDEV_ADVICE } from '../host/udev.js';
import { findLogicalVolume } from './lvs.js';

/** The path of a device's node under /dev, by its number: never a link, and correct for names that need escaping. */
export async function nodeOf(number: DeviceNumber): Promise<string> {
  const path = `/dev/${(await readDeviceFacts(number)).kernelName}`;
  let found: DeviceNumber;
  try {
    found = deviceNumberOf(await stat(path));
  } catch (error) {
    throw new DeviceError(path, 'stat', null, error);
  }
  if (found !== number)
    throw new DeviceError(path, 'stat', null, `it is device ${found} instead of ${number}`);
  return path;
}

/**
 * The number of the block device that a user named, if there is a node of that name; `vg/lv` means `/dev/vg/lv`. Null
 * if there is no node; throws NoSnapshotError if it is not a block device.
 */
export async function findNode(name: string): Promise<DeviceNumber | null> {
  const paths =
    name.startsWith('/') || name.startsWith('.') ? [name] : [`/dev/${name}`, `/dev/mapper/${name}`];
  for (const path of paths) {
    const stats = await stat(path).catch((error: unknown) => {
      if (isMissing(error)) return null;
      throw new DeviceError(path, 'stat', null, error);
    });
    if (stats?.isBlockDevice() === true) return deviceNumberOf(stats);
    if (stats !== null) throw notADevice(name, stats.isFile());
  }
  return null;
}

/** The error for what is there, and not a block device. */
function notADevice(name: string, isFile: boolean): NoSnapshotError {
  if (!isFile) return new NoSnapshotError(name, 'not a block device');
  return new NoSnapshotError(
    name,
    `this is a file, and a snapshot is a block device: "lvmsync --scan ${name} TARGET" sends what differs between ` +
      `the file and TARGET, "lvmsync copy ${name} TARGET" sends all of it; if the store and the volume of a snapshot are files, use ` +
      '--cow FILE --origin FILE',
  );
}

/** As `findNode`; if there is no node, throws NoSnapshotError or SnapshotError with what LVM knows about the name. */
export async function findDeviceNumber(spawner: Spawner, name: string): Promise<DeviceNumber> {
  const number = await findNode(name);
  if (number !== null) return number;
  const why = await whyNoNode(spawner, name);
  if (why === null) {
    const isFile = (await stat(name).catch(() => null))?.isFile() === true;
    throw isFile ? notADevice(name, isFile) : new NoSnapshotError(name, 'no such device or logical volume');
  }
  throw why.isMerging ? new SnapshotError(name, why.problem) : new NoSnapshotError(name, why.problem);
}

/** Why a logical volume has no node, and what to do. */
export interface NoNode {
  readonly problem: string;
  readonly isActive: boolean;
  /** Whether it is a snapshot that merges into its origin: LVM removes its node when the merge begins. */
  readonly isMerging: boolean;
}

/**
 * What LVM knows about a name that has no node; null if there is no such volume. Throws CommandError as `findVolume`.
 */
export async function whyNoNode(spawner: Spawner, name: string): Promise<NoNode | null> {
  const volume = await findLogicalVolume(spawner, name);
  if (volume === null) return null;
  if (!volume.active) {
    const problem = `inactive: activate it first (lvchange -ay -K ${volume.fullName})`;
    return { problem, isActive: false, isMerging: false };
  }
  const problem = volume.merging
    ? 'the snapshot is being merged into its origin: wait until the merge is done'
    : `active, but it has no node under /dev: ${UDEV_ADVICE}`;
  return { problem, isActive: true, isMerging: volume.merging };
}

/** The device-mapper devices that use a device. */
export async function holdersOf(number: DeviceNumber): Promise<DeviceNumber[]> {
  const folder = `/sys/dev/block/${number}/holders`;
  try {
    const names = (await readdir(folder)).filter((each) => each.startsWith('dm-'));
    const numbers = names.map((each) => readFile(`/sys/class/block/${each}/dev`, 'latin1'));
    return (await Promise.all(numbers)).map((each) => each.trim()).filter(isDeviceNumber);
  } catch (error) {
    throw new DeviceError(folder, 'read', null, error);
  }
}

/** Whether a word of a device-mapper table is a device number. */
export function isDeviceNumber(text: string | undefined): text is DeviceNumber {
  return text !== undefined && /^\d+:\d+$/.test(text);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
