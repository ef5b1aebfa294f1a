import { createHash } from 'node:crypto';
import { readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { deviceNumberOf, readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { DeviceError, UnsafeTargetError } from '../errors.js';
import { readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';

/** What names a target from one run to the next. */
export interface TargetKey {
  /** A folder's name: letters, digits and `._+-`, never beginning with a dot. */
  readonly key: string;
  /** Without links. */
  readonly realPath: string;
  /** Null of an image file. */
  readonly number: DeviceNumber | null;
}

/**
 * A stable name for a target: the UUID of a device-mapper device, which lasts as long as the volume does, or else
 * its name; of other devices the kernel's name; of an image file a digest of its real path.
 *
 * Throws DeviceError where there is no such target, UnsafeTargetError where it is neither device nor file.
 */
export async function targetKeyOf(path: string): Promise<TargetKey> {
  const { realPath, stats } = await look(path);
  if (stats.isFile()) return { key: `file-${digestOf(realPath, 16)}`, realPath, number: null };
  if (!stats.isBlockDevice()) {
    throw new UnsafeTargetError(path, 'neither a block device nor a regular file');
  }
  const number = deviceNumberOf(stats);
  const name =
    (await readAttribute(number, 'dm/uuid')) ??
    (await readAttribute(number, 'dm/name')) ??
    (await readDeviceFacts(number)).kernelName;
  return { key: fitForFolder(name), realPath, number };
}

async function look(path: string) {
  try {
    const realPath = await realpath(path);
    return { realPath, stats: await stat(realPath) };
  } catch (error) {
    throw new DeviceError(path, 'stat', null, error);
  }
}

/** What sysfs says of a device; null where it says nothing. */
async function readAttribute(number: DeviceNumber, name: string): Promise<string | null> {
  const text = await readFile(`/sys/dev/block/${number}/${name}`, 'utf8').catch(() => '');
  return text.trim() === '' ? null : text.trim();
}

/** Other characters go, and a digest comes, so that two names remain two. */
function fitForFolder(name: string): string {
  const fitting = name.replace(/^\.|[^A-Za-z0-9._+-]/g, '_');
  return fitting === name ? name : `${fitting}-${digestOf(name, 8)}`;
}

function digestOf(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}

/** The size of the volume that a target holds, where the target is larger: LVM gives out whole extents. Bytes. */
const noteSchema = v.object({ volumeSize: v.number(), targetSize: v.number() });

/** Notes how much of a target is the volume. Throws DeviceError. */
export async function noteVolumeSize(folder: string, volumeSize: number, targetSize: number): Promise<void> {
  const path = pathIn(folder);
  if (volumeSize < targetSize) await writeDurably(path, `${JSON.stringify({ volumeSize, targetSize })}\n`);
  else await removeDurably(path);
}

/** How much of a target of this size was the volume by its last run; null where that is all of it, or not known. */
export async function readVolumeSize(folder: string, targetSize: number): Promise<number | null> {
  const text = await readIfThere(pathIn(folder)).catch(() => null);
  const note = v.safeParse(v.pipe(v.string(), v.parseJson(), noteSchema), text);
  return note.success && note.output.targetSize === targetSize ? note.output.volumeSize : null;
}

function pathIn(folder: string): string {
  return join(folder, 'volume.json');
}
