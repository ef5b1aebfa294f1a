import { lstat, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DeviceError, isErrno, UnsafeTargetError, UsageError } from '../errors.js';
import {
  giveName,
  isThere,
  makePrivateFolder,
  openNew,
  removeDurably,
  syncFolderOf,
} from '../host/durable-file.js';
import type { Surroundings } from '../host/surroundings.js';
import { makePartialVolume } from '../lvm/create-volume.js';
import type { VolumeName } from '../lvm/lvs.js';
import { findVolumePath } from '../lvm/volume-path.js';
import { findDiscardUnit } from '../snapshots/thin-pool.js';
import type { CreateWish } from './apply-policy.js';
import { FreshDevice } from './fresh-device.js';
import { openTarget, type OpenTarget, type OpenTargetOptions } from './open-target.js';
import { StateRecord } from './state-record.js';
import { targetKeyOf } from './target-key.js';

/** The suffix of a file's name until the file is complete. */
const PARTIAL = '.lvmsync-partial';
/** The names that LVM allows. */
const NAME = '[A-Za-z0-9_+.][A-Za-z0-9_+.-]*';
const VOLUME_PATH = new RegExp(`^/dev/(${NAME})/(${NAME})$`);
const VOLUME_NAME = new RegExp(`^(${NAME})/(${NAME})$`);
/** Folders of /dev that do not belong to a volume group. */
const OTHER_FOLDERS = [
  'mapper',
  'disk',
  'block',
  'bus',
  'char',
  'cpu',
  'dri',
  'fd',
  'input',
  'loop',
  'md',
  'net',
];

/** What to create for a name. */
type Place =
  | { readonly kind: 'there'; readonly path: string }
  | ({ readonly kind: 'volume'; readonly path: string } & VolumeName)
  | { readonly kind: 'file'; readonly path: string };

/** A target that was created, or left incomplete by an earlier run, and still has its temporary name. */
interface Partial {
  readonly path: string;
  readonly isNew: boolean;
  finish(): Promise<void>;
  remove(): Promise<void>;
}

/** A target that may have to be created. */
export interface WantedTarget {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly create: CreateWish;
}

/** A target that was just made, or left by an earlier run, still under a temporary name. */
interface MadeTarget {
  readonly place: Place;
  readonly made: Partial;
  readonly size: number;
}

/**
 * Opens a target as `openTarget`, and creates it if it does not exist: `/dev/VG/LV` and `VG/LV` as a volume, anything
 * else as a sparse file that only its owner can read. Until `finish` it has a temporary name, so that no one takes it
 * for complete. If nothing was written to it, `close` removes it again.
 *
 * Throws CommandError if LVM refuses, UsageError if nothing can be created for the name, UnsafeTargetError if something
 * is in the way, DeviceError.
 */
export async function openOrCreateTarget(
  { path, size, create }: WantedTarget,
  options: OpenTargetOptions,
  env: Surroundings,
): Promise<OpenTarget> {
  const place = await placeOf(await findVolumePath(path));
  if (place.kind === 'there') return await openTarget(place.path, options, env);
  if (place.kind === 'file' && create.kind === 'thin') {
    throw new UsageError(`--create-thin: ${path} is not a volume name: write /dev/VG/LV`);
  }
  const pool = create.kind === 'thin' ? poolWithin(create.pool, place) : null;
  const made =
    place.kind === 'volume'
      ? await makePartialVolume(place, size, pool, env)
      : await makePartialFile(place.path, size);
  try {
    return await openMade({ place, made, size }, options, env);
  } catch (error) {
    if (made.isNew) await made.remove().catch(() => undefined);
    throw error;
  }
}

async function openMade(
  { place, made, size }: MadeTarget,
  options: OpenTargetOptions,
  env: Surroundings,
): Promise<OpenTarget> {
  const opening = place.kind === 'file' ? { ...options, followLinks: false as const } : options;
  const target = await openTarget(made.path, opening, env);
  const { number } = target.device;
  const readsAsZeroes = number === null || (await findDiscardUnit(env.spawner, number)) !== null;
  const fresh = new FreshDevice(target.device, made.isNew && readsAsZeroes);
  let isFinished = false;
  return {
    ...target,
    device: fresh,
    finish: async () => {
      // LVM allocates whole extents, which may hold old data of other volumes.
      if (size < fresh.size) await fresh.discard(size, fresh.size - size);
      await fresh.flush();
      await made.finish();
      isFinished = true;
    },
    // A volume keeps its record, because it is found by its UUID.
    ...(number === null ? { moveRecord: () => moveRecord(target, place.path, options) } : {}),
    close: async () => {
      const isUnused = made.isNew && !fresh.hasWritten && !isFinished;
      if (isUnused) await target.record.remove();
      // Remove the unused file while it is locked, so that the next receiver of this run finds either the file or
      // nothing.
      if (isUnused && number === null) await made.remove();
      await target.close();
      // A volume cannot be removed while it is open: we had it open until now, and that receiver may have it open from
      // now on.
      if (isUnused && number !== null) await made.remove().catch(() => undefined);
    },
  };
}

/** The record of a file is found by the file's name, so it moves with it. */
async function moveRecord(
  { record }: OpenTarget,
  path: string,
  { stateDir }: OpenTargetOptions,
): Promise<StateRecord> {
  const { key, realPath, number } = await targetKeyOf(path);
  const folder = join(stateDir, 'targets', key);
  await makePrivateFolder(folder);
  await record.remove();
  return new StateRecord(folder, { path: realPath, number });
}

/** Throws UsageError if nothing can be created for the name. */
async function placeOf(path: string): Promise<Place> {
  if (await isThere(path)) return { kind: 'there', path };
  const [, group, name] = VOLUME_PATH.exec(path) ?? [];
  if (group !== undefined && name !== undefined && group !== 'shm') {
    if (OTHER_FOLDERS.includes(group)) throw notMade(path);
    return { kind: 'volume', path, group, name };
  }
  const [, someGroup, someName] = VOLUME_NAME.exec(path) ?? [];
  if (someGroup !== undefined && someName !== undefined && !(await isThere(someGroup))) {
    return await placeOf(`/dev/${path}`);
  }
  const file = resolve(path);
  if (file.startsWith('/dev/') && !file.startsWith('/dev/shm/')) throw notMade(path);
  return { kind: 'file', path: file };
}

function notMade(path: string): UsageError {
  return new UsageError(
    `${path}: it does not exist, and lvmsync creates only logical volumes and files: write /dev/VG/LV`,
  );
}

/** A pool's name within the volume group of the volume. Throws UsageError if it is in another group. */
function poolWithin(pool: string, place: Place): string {
  const [group, name, ...more] = pool.startsWith('/dev/') ? pool.split('/').slice(2) : pool.split('/');
  if (name === undefined && group !== undefined && new RegExp(`^${NAME}$`).test(group)) return group;
  const isWithin = place.kind === 'volume' && group === place.group && more.length === 0;
  if (isWithin && name !== undefined && new RegExp(`^${NAME}$`).test(name)) return name;
  throw new UsageError(`--create-thin ${pool}: not the name of a thin pool in the volume's own volume group`);
}

/** Makes a sparse file, or takes the one that an earlier run left. Throws UnsafeTargetError, DeviceError. */
async function makePartialFile(path: string, size: number): Promise<Partial> {
  const partial = `${path}${PARTIAL}`;
  const isNew = await createSparse(partial, size);
  if (!isNew) await checkLeft(partial, size);
  return {
    path: partial,
    isNew,
    finish: () => giveName(partial, path),
    remove: () => removeDurably(partial),
  };
}

async function createSparse(path: string, size: number): Promise<boolean> {
  try {
    const file = await openNew(path);
    try {
      await file.truncate(size);
      await file.sync();
    } catch (error) {
      await unlink(path);
      throw error;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw new DeviceError(path, 'write', null, error);
  }
  await syncFolderOf(path);
  return true;
}

async function checkLeft(path: string, size: number): Promise<void> {
  const stats = await lstat(path).catch((error: unknown) => {
    throw new DeviceError(path, 'stat', null, error);
  });
  if (stats.isFile() && stats.size === size) return;
  const what = stats.isFile()
    ? `left by another copy (${stats.size} bytes)`
    : 'in the way, and not a regular file';
  throw new UnsafeTargetError(path, `it is ${what}: remove it first`);
}
