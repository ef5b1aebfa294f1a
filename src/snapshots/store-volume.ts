import { readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { isMerging, MERGE_COLUMNS, findDevice, listVolumes, lookUpVolume } from '../lvm/lvs.js';
import { removeVolume, runLvm, whileBusy } from '../lvm/run-lvm.js';

/** What marks a volume that holds a store of ours, or is the snapshot made of it. */
export const STORE_TAG = 'lvmsync.view';

/** What LVM says of a volume that shall get a snapshot. */
export interface OriginVolume {
  /** `vg/lv`. */
  readonly fullName: string;
  readonly group: string;
  readonly isThin: boolean;
  /** Whether it is a classic snapshot itself. */
  readonly isSnapshot: boolean;
  /** Whether a snapshot is being merged into it, or shall be when it is next activated. */
  readonly isMerging: boolean;
  /** Its snapshots, `vg/lv`, those that we made too. */
  readonly snapshots: readonly string[];
}

/** Finds the logical volume that a device is; null where it is none of LVM's. Throws CommandError. */
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

/** What has become of a volume that we made for a store. */
export interface StoreVolume {
  /** The store alone; the snapshot that it became; or that, on its way back into its origin. */
  readonly is: 'store' | 'snapshot' | 'merging';
  readonly tags: readonly string[];
}

/** Looks for a volume `vg/lv`; null where its group has none of that name. Throws as `lookUpVolume`. */
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

/** Makes a volume for a store, with whatever lay on its extents before. Throws CommandError where LVM refuses. */
export async function createStoreVolume(
  spawner: Spawner,
  wish: { readonly group: string; readonly name: string; readonly tag: string; readonly bytes: number },
): Promise<void> {
  const { group, name, tag, bytes } = wish;
  // Neither zeroed nor wiped: the store is written over it, its header last.
  const how = ['-Wn', '-Zn', '--addtag', STORE_TAG, '--addtag', tag, '-n', name, '-L', `${bytes}b`];
  await runLvm(spawner, ['lvcreate', '-qq', '-y', ...how, group]);
}

/** Makes a finished store a snapshot of a volume: from then on, the volume's writes are copied into it first. */
export async function attachStore(
  spawner: Spawner,
  origin: string,
  store: string,
  chunkSize: number,
): Promise<void> {
  const how = ['--type', 'snapshot', '-Zn', '-c', `${chunkSize / 1024}k`];
  // udev may still look into the volume that was just written and closed.
  await whileBusy(() => runLvm(spawner, ['lvconvert', '-qq', '-y', ...how, origin, store]));
}

/** Begins to merge a snapshot into its origin, and returns at once; false where LVM put it off. Throws CommandError. */
export async function beginMerge(spawner: Spawner, origin: DeviceNumber, snapshot: string): Promise<boolean> {
  await whileBusy(() => runLvm(spawner, ['lvconvert', '-qq', '-y', '--background', '--merge', snapshot]));
  return await hasBegunToMerge(spawner, origin);
}

/** Has a merge that was put off begin, if nobody has the origin open by now; false where someone has. */
export async function retryMerge(
  spawner: Spawner,
  origin: DeviceNumber,
  originName: string,
): Promise<boolean> {
  await runLvm(spawner, ['lvchange', '-qq', '--refresh', '--poll', 'y', originName]);
  return await hasBegunToMerge(spawner, origin);
}

/** Whether the kernel merges into a volume, or has done so and LVM tidied up. */
async function hasBegunToMerge(spawner: Spawner, origin: DeviceNumber): Promise<boolean> {
  const [target] = await new DeviceMapper(spawner).table(origin);
  return target?.type !== 'snapshot-origin';
}

/** Removes the volume that we gave a tag, whatever it has become. Throws CommandError, also where another has its name. */
export async function removeStoreVolume(spawner: Spawner, fullName: string, tag: string): Promise<void> {
  const found = await findStoreVolume(spawner, fullName);
  if (found === null) return;
  if (!found.tags.includes(tag)) {
    const problem = `this volume is not the one that lvmsync made (it lacks the tag ${tag}): it stays`;
    throw new CommandError(['lvremove', fullName], null, '', problem);
  }
  await removeVolume(spawner, fullName);
}
