import { readdir, readFile, stat } from 'node:fs/promises';
import { deviceNumberOf, type DeviceNumber } from '../device/device-facts.js';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { isDeviceNumber } from '../lvm/device-node.js';
import { VIEW_UUID_PREFIX } from '../snapshots/mapped-snapshot.js';
import {
  isSameFile,
  linkedDevices,
  readAttribute,
  type FileIdentity,
  type NamedDevice,
} from './device-tree.js';
import { readMountTables, unescapeOctal } from './mount-tables.js';

/** Where a device is mounted, in words after "it is"; null: not mounted. */
export async function findMount(number: DeviceNumber): Promise<string | null> {
  for (const { process, mounts } of await readMountTables()) {
    for (const mount of mounts) {
      const found = mount.number === number || (await isMountSource(mount.source, process, mount.number));
      if (!found) continue;
      const where = process === 'self' ? '' : ` in the mount namespace of process ${process}`;
      return `mounted on ${mount.point}${where}: unmount it first`;
    }
  }
  return null;

  /** Some file systems, such as btrfs, show a number of their own. Then the mount's source tells the device. */
  async function isMountSource(source: string, process: string, shown: DeviceNumber): Promise<boolean> {
    if (!shown.startsWith('0:') || !source.startsWith('/dev/')) return false;
    const stats = await stat(`/proc/${process}/root${source}`).catch(() => null);
    return stats?.isBlockDevice() === true && deviceNumberOf(stats) === number;
  }
}

/** Whether it is used as swap, in words after "it is". */
export async function findSwap(target: DeviceNumber | FileIdentity): Promise<string | null> {
  const lines = (await readFile('/proc/swaps', 'utf8').catch(() => '')).split('\n').slice(1);
  for (const line of lines) {
    const path = unescapeOctal(line.split(/\s/)[0] ?? '');
    if (path !== '' && (await isTarget(path, target))) return `in use as swap: run "swapoff ${path}" first`;
  }
  return null;
}

/** The devices on top of it (volumes, snapshots, RAIDs, caches), in words after "it is". */
export async function findHolder(number: DeviceNumber): Promise<string | null> {
  const holders = await linkedDevices(number, 'holders');
  if (holders.length === 0) return null;
  const view = await findView(holders);
  if (view !== null) return view;
  const names = holders.map(({ dmName, kernelName }) =>
    dmName === null ? `/dev/${kernelName}` : `/dev/mapper/${dmName}`,
  );
  return `part of ${names.join(', ')}: use that as the target instead, or remove it first`;
}

/** The lvmsync view among the devices on top of a target, in words after "it is"; null: there is no view. */
async function findView(holders: readonly NamedDevice[]): Promise<string | null> {
  for (const { number, dmName } of holders) {
    const uuid = await readAttribute(`/sys/dev/block/${number}/dm/uuid`);
    if (uuid?.startsWith(VIEW_UUID_PREFIX) !== true) continue;
    const name = dmName ?? '';
    return `underneath the view ${name}, which a write would damage: run "lvmsync view close ${name}" first`;
  }
  return null;
}

/** The loop device that shows it, in words after "it is". */
export async function findLoop(
  spawner: Spawner,
  target: DeviceNumber | FileIdentity,
): Promise<string | null> {
  const bound: string[] = [];
  const loops = (await readdir('/sys/block').catch(() => [])).filter((name) => name.startsWith('loop'));
  for (const loop of loops) {
    const path = await readAttribute(`/sys/block/${loop}/loop/backing_file`);
    if (path === null) continue;
    bound.push(loop);
    if (await isTarget(path, target)) return await inUse(loop);
  }
  if (typeof target === 'string' || bound.length === 0) return null;
  const loop = await findLoopByInode(spawner, target);
  return loop === null ? null : await inUse(loop);

  async function inUse(loop: string): Promise<string> {
    const number = (await readAttribute(`/sys/block/${loop}/dev`)) ?? '';
    const view = isDeviceNumber(number) ? await findView(await linkedDevices(number, 'holders')) : null;
    if (view !== null) return view;
    return `attached to the loop device /dev/${loop}: detach it first (losetup -d /dev/${loop})`;
  }
}

/** For a loop device whose file was renamed or removed since, or is not visible here by name. */
async function findLoopByInode(spawner: Spawner, target: FileIdentity): Promise<string | null> {
  const columns = 'NAME,BACK-INO,BACK-MAJ:MIN';
  const result = await spawner
    .run(['losetup', '--list', '--noheadings', '--output', columns])
    .catch((error: unknown) => {
      if (error instanceof CommandError) return null;
      throw error;
    });
  const lines = result?.stdout.split('\n').map((line) => line.trim().split(/\s+/)) ?? [];
  const device = deviceNumberOf({ rdev: target.dev });
  const found = lines.find(([, ino, number]) => ino === String(target.ino) && number === device);
  return found?.[0]?.replace('/dev/', '') ?? null;
}

async function isTarget(path: string, target: DeviceNumber | FileIdentity): Promise<boolean> {
  const stats = await stat(path).catch(() => null);
  if (stats === null) return false;
  if (typeof target === 'string') return stats.isBlockDevice() && deviceNumberOf(stats) === target;
  return stats.isFile() && isSameFile(stats, target);
}
