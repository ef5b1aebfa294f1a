import { readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { isMerging, MERGE_COLUMNS, findDevice, listVolumes, lookUpVolume } from '../lvm/lvs.js';
import { removeVolume, runLvm, whileBusy } from '../lvm/run-lvm.js';

/** Marks a volume that holds a store of ours, or the snapshot made from it. */
export const STORE_TAG = 'lvmsync.view';

/** What LVM says about a volume that is to get a snapshot. */
export interface OriginVolume {
  /** `vg/lv`. */
  readonly fullName: string;
  readonly group: string;
  readonly isThin: boolean;
  /** Whether it is itself a classic snapshot. */
  readonly isSnapshot: boolean;
  /** Whether a snapshot is being merged into it, or will be when it is next activated. */
  readonly isMerging: boolean;
  /** Its snapshots, `vg/lv`, including those that we made. */
  readonly snapshots: readonly string[];
}

/** Finds the logical volume that a device is; null if it does not belong to LVM. Throws CommandError. */
export async function findOriginVolume(spawner: Spawner, number: DeviceNumber): Promise<OriginVolume | null> {
  if (!(await readDeviceFacts(number)).kernelName.startsWith('dm-')) return null;
  const { uuid, name } = await new DeviceMapper(spawner).info(number);
  if (!uuid.startsWith('LVM-')) return null;
  const columns = ['lv_full_name', 'vg_name', 'lv_role', 'lv_layout', 'lv_name', ...MERGE_COLUMNS] as const;
  const row = await findDevice(spawner, columns, name);
  const below = { field: 'origin', value: row.lv_name } as const;
  const snapshots = (await listVolumes(spawner, ['lv_full_name'], row.vg_name, below)) ?? [];
  return {
    fullName: row.lv_full_name,
    group: row.vg_name,
    isThin: row.lv_layout.split(',').includes('thin'),
    isSnapshot: row.lv_role.split(',').includes('thicksnapshot'),
    isMerging: isMerging(row),
    snapshots: snapshots.map((each) => each.lv_full_name),
  };
}

/** The present form of a volume that we made for a store. */
export interface StoreVolume {
  /** The store alone; the snapshot that it became; or that snapshot, merging into its origin. */
  readonly is: 'store' | 'snapshot' | 'merging';
  readonly tags: readonly string[];
}

/** Looks for a volume `vg/lv`; null if its group has no volume of that name. Throws as `lookUpVolume`. */
export async function findStoreVolume(spawner: Spawner, fullName: string): Promise<StoreVolume | null> {
  const columns = ['lv_role', 'lv_merging', 'lv_tags'] as const;
  const row = await lookUpVolume(spawner, columns, fullName);
  if (row === null) return null;
  const isSnapshot = row.lv_role.split(',').includes('thicksnapshot');
  return {
    is: row.lv_merging !== '' ? 'merging' : isSnapshot ? 'snapshot' : 'store',
    tags: row.lv_tags.split(','),
  };
}

/** Makes a volume for a store; it contains what was on its extents before. Throws CommandError if LVM refuses. */
export async function createStoreVolume(
  spawner: Spawner,
  wish: { readonly group: string; readonly name: string; readonly tag: string; readonly bytes: number },
): Promise<void> {
  const { group, name, tag, bytes } = wish;
  // Neither zeroed nor wiped: the store is written over it, its header last.
  const how = ['-Wn', '-Zn', '--addtag', STORE_TAG, '--addtag', tag, '-n', name, '-L', `${bytes}b`];
  await runLvm(spawner, ['lvcreate', '-qq', '-y', ...how, group]);
}

/**
 * Makes a finished store a snapshot of a volume: from then on the volume's old chunks are copied into it before a
 * write.
 */
export async function attachStore(
  spawner: Spawner,
  origin: string,
  store: string,
  chunkSize: number,
): Promise<void> {
  const how = ['--type', 'snapshot', '-Zn', '-c', `${chunkSize / 1024}k`];
  // udev may still be reading the volume that was just written and closed.
  await whileBusy(() => runLvm(spawner, ['lvconvert', '-qq', '-y', ...how, origin, store]));
}

/**
 * Begins to merge a snapshot into its origin, and returns at once; false if LVM postponed the merge. Throws
 * CommandError.
 */
export async function beginMerge(spawner: Spawner, origin: DeviceNumber, snapshot: string): Promise<boolean> {
  await whileBusy(() => runLvm(spawner, ['lvconvert', '-qq', '-y', '--background', '--merge', snapshot]));
  return await hasBegunToMerge(spawner, origin);
}

/** Starts a postponed merge, if nothing has the origin open by now; false if something has. */
export async function retryMerge(
  spawner: Spawner,
  origin: DeviceNumber,
  originName: string,
): Promise<boolean> {
  await runLvm(spawner, ['lvchange', '-qq', '--refresh', '--poll', 'y', originName]);
  return await hasBegunToMerge(spawner, origin);
}

/** Whether the kernel is merging into a volume, or has finished and LVM has cleaned up. */
async function hasBegunToMerge(spawner: Spawner, origin: DeviceNumber): Promise<boolean> {
  const [target] = await new DeviceMapper(spawner).table(origin);
  return target?.type !== 'snapshot-origin';
}

/**
 * Removes the volume that we tagged, whatever it has become. Throws CommandError, also if another volume has its name.
 */
export async function removeStoreVolume(spawner: Spawner, fullName: string, tag: string): Promise<void> {
  const found = await findStoreVolume(spawner, fullName);
  if (found === null) return;
  if (!found.tags.includes(tag)) {
    const problem = `lvmsync did not create this volume (it lacks the tag ${tag}), and does not remove it`;
    throw new CommandError(['lvremove', fullName], problem);
  }
  await removeVolume(spawner, fullName);
}
