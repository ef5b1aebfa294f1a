import { stat } from 'node:fs/promises';
import { SECTOR } from '../bytes/extent.js';
import { deviceNumberOf, readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { CommandError } from '../errors.js';
import { isThere } from '../host/durable-file.js';
import type { Spawner } from '../host/spawner.js';
import { UDEV_ADVICE } from '../host/udev.js';
import { DeviceMapper, runDmsetup } from '../lvm/device-mapper.js';
import { whileBusy } from '../lvm/run-lvm.js';

/** The UUID of each view that we made begins with this, so that anyone can see what it is. */
export const VIEW_UUID_PREFIX = 'LVMSYNC-VIEW-';

/** How full a snapshot's store is, according to the kernel. */
export type SnapshotFill =
  | { readonly is: 'valid'; readonly usedBytes: number; readonly totalBytes: number }
  | { readonly is: 'invalid' | 'merging' | 'other' };

/** What to make a snapshot device of. */
export interface MappedSnapshotWish {
  readonly name: string;
  readonly uuid: string;
  readonly origin: DeviceNumber;
  readonly store: DeviceNumber;
  /** Bytes. */
  readonly chunkSize: number;
}

/** Makes a writable snapshot device from a store over an origin that nothing may write to. Throws CommandError. */
export async function mapSnapshot(spawner: Spawner, wish: MappedSnapshotWish): Promise<void> {
  const { name, uuid, origin, store, chunkSize } = wish;
  const sectors = (await readDeviceFacts(origin)).size / SECTOR;
  const table = `0 ${sectors} snapshot ${origin} ${store} P ${chunkSize / SECTOR}`;
  await change(spawner, ['dmsetup', 'create', name, '--uuid', uuid, '--table', table]);
  if (await isMappedName(name)) return;
  await change(spawner, ['dmsetup', 'remove', name]);
  const problem = `device-mapper created this device, but it has no node /dev/mapper/${name}: ${UDEV_ADVICE}`;
  throw new CommandError(['dmsetup', 'create', name], problem, { status: 0 });
}

/** Removes a device-mapper device by its UUID, if it is there. Throws CommandError. */
export async function unmapSnapshot(spawner: Spawner, uuid: string): Promise<void> {
  const number = await findMapped(spawner, uuid);
  if (number === null) return;
  // By its name: without udev nothing else removes its node.
  const { name } = await new DeviceMapper(spawner).info(number);
  await whileBusy(() => change(spawner, ['dmsetup', 'remove', name]));
}

/** The number of the device-mapper device with a UUID; null if there is no such device. Throws CommandError. */
export async function findMapped(spawner: Spawner, uuid: string): Promise<DeviceNumber | null> {
  // A list without it is a clear answer; asking for a missing device would give only an error message.
  const columns = ['-c', '--noheadings', '--separator', ':', '-o', 'major,minor'];
  const argv = ['dmsetup', 'info', ...columns, '--select', `uuid="${uuid}"`] as const;
  const result = await runDmsetup(spawner, argv, 'question');
  const { status, stdout, gaveUp } = result;
  if (status !== 0) throw new CommandError(argv, gaveUp ?? 'device-mapper did not answer', result);
  const [, major, minor] = /^(\d+):(\d+)$/m.exec(stdout.trim()) ?? [];
  return major === undefined ? null : `${Number(major)}:${Number(minor)}`;
}

/** Whether device-mapper already has a device of this name. */
export async function isMappedName(name: string): Promise<boolean> {
  return await isThere(`/dev/mapper/${name}`);
}

/** How full the store of a snapshot device is. Throws CommandError. */
export async function readFill(spawner: Spawner, number: DeviceNumber): Promise<SnapshotFill> {
  const [target] = await new DeviceMapper(spawner).status(number);
  if (target?.type === 'snapshot-merge' || target?.type === 'error') return { is: 'merging' };
  if (target?.type !== 'snapshot') return { is: 'other' };
  const [, used, total] = /^(\d+)\/(\d+) \d+$/.exec(target.words.join(' ')) ?? [];
  if (used === undefined) return { is: 'invalid' };
  return { is: 'valid', usedBytes: Number(used) * SECTOR, totalBytes: Number(total) * SECTOR };
}

/** Allows or forbids writes to a device, for programs that open it from now on. Throws CommandError. */
export async function setReadOnly(spawner: Spawner, path: string, isReadOnly: boolean): Promise<void> {
  await run(spawner, ['blockdev', isReadOnly ? '--setro' : '--setrw', path]);
}

/** The device number of a node. Throws if it does not exist. */
export async function numberOf(path: string): Promise<DeviceNumber> {
  return deviceNumberOf(await stat(path));
}

async function change(spawner: Spawner, argv: readonly ['dmsetup', string, ...string[]]): Promise<void> {
  const { status, stderr, gaveUp } = await runDmsetup(spawner, argv, 'change');
  if (status !== 0) throw new CommandError(argv, gaveUp ?? 'it failed', { status, stderr });
}

async function run(spawner: Spawner, argv: readonly [string, ...string[]]): Promise<void> {
  const { status, stderr } = await spawner.run(argv);
  if (status !== 0) throw new CommandError(argv, 'it failed', { status, stderr });
}
