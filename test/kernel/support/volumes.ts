import { run } from './run.js';

/** Makes a volume group of one disk of the guest; each test file has the guest's disks for itself. */
export async function createVolumeGroup(name: string, disk = '/dev/ubda', extentSize = '1M'): Promise<void> {
  await run(['vgcreate', '-qq', '-ff', '-y', '-s', extentSize, name, disk]);
}

/** Removes a volume group with all its volumes, snapshots and labels. */
export async function removeVolumeGroup(name: string): Promise<void> {
  const disks = await run(['vgs', '--noheadings', '-o', 'pv_name', name]);
  await run(['vgremove', '-qq', '-ff', '-y', name]);
  await run(['pvremove', '-qq', '-ff', '-y', ...disks.trim().split(/\s+/)]);
}

/** Makes a linear volume and returns its path; the size is LVM's own notation, such as `64M`. */
export async function createVolume(group: string, name: string, size: string): Promise<string> {
  await run(['lvcreate', '-qq', '-y', '-Wn', '-Zn', '-n', name, '-L', size, group]);
  return `/dev/${group}/${name}`;
}

export interface SnapshotWish {
  readonly size: string;
  /** LVM's notation, such as `4k`. */
  readonly chunkSize?: string;
  readonly permission?: 'r' | 'rw';
}

/** Makes a classic snapshot of a volume and returns its path. */
export async function createSnapshot(
  group: string,
  origin: string,
  name: string,
  { size, chunkSize = '4k', permission = 'rw' }: SnapshotWish,
): Promise<string> {
  const wish = ['-L', size, '-c', chunkSize, '-p', permission];
  await run(['lvcreate', '-qq', '-y', '-s', '-n', name, ...wish, `${group}/${origin}`]);
  return `/dev/${group}/${name}`;
}

/** The device-mapper name of an LVM volume: dashes are doubled. */
export function mapperName(group: string, volume: string): string {
  return [group, volume].map((part) => part.replaceAll('-', '--')).join('-');
}

/** What the kernel says about a snapshot. */
export interface SnapshotStatus {
  /** The status word or figures, such as `16/8192 8` or `Invalid`. */
  readonly words: string;
  /** Null where the status holds no figures. */
  readonly exceptions: number | null;
}

/** Asks the kernel for a snapshot's exceptions; the chunk size is in bytes. */
export async function statusOf(mapperName: string, chunkSize: number): Promise<SnapshotStatus> {
  const words = (await run(['dmsetup', 'status', mapperName])).trim().split(' ').slice(3).join(' ');
  const [, allocated, metadata] = /^(\d+)\/\d+ (\d+)$/.exec(words) ?? [];
  const exceptions =
    allocated === undefined ? null : (Number(allocated) - Number(metadata)) / (chunkSize / 512);
  return { words, exceptions };
}
