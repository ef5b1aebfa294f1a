import { createHash } from 'node:crypto';
import { readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { deviceNumberOf, readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { DeviceError, UnsafeTargetError } from '../errors.js';
import { readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';

/** Identifies a target from one run to the next. */
export interface TargetKey {
  /** A folder's name: letters, digits and `._+-`, never beginning with a dot. */
  readonly key: string;
  /** Without links. */
  readonly realPath: string;
  /** Null: an image file. */
  readonly number: DeviceNumber | null;
}

/**
 * A stable name for a target: for a device-mapper device its UUID, which lasts as long as the volume, or else its name;
 * for other devices the kernel's name; for an image file a digest of its real path.
 *
 * Throws DeviceError if there is no such target, UnsafeTargetError if it is neither device nor file.
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

/** An attribute of a device in sysfs; null: missing or empty. */
async function readAttribute(number: DeviceNumber, name: string): Promise<string | null> {
  const text = await readFile(`/sys/dev/block/${number}/${name}`, 'utf8').catch(() => '');
  return text.trim() === '' ? null : text.trim();
}

/** Replaces characters that do not fit, and then adds a digest, so that different names stay different. */
function fitForFolder(name: string): string {
  const fitting = name.replace(/^\.|[^A-Za-z0-9._+-]/g, '_');
  return fitting === name ? name : `${fitting}-${digestOf(name, 8)}`;
}

function digestOf(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}

/** The size of the volume that a target holds, if the target is larger because LVM allocates whole extents. Bytes. */
const noteSchema = v.object({ volumeSize: v.number(), targetSize: v.number() });

/** Notes how much of a target is the volume. Throws DeviceError. */
export async function noteVolumeSize(folder: string, volumeSize: number, targetSize: number): Promise<void> {
  const path = pathIn(folder);
  if (volumeSize < targetSize) await writeDurably(path, `${JSON.stringify({ volumeSize, targetSize })}\n`);
  else await removeDurably(path);
}

/** How much of a target of this size was the volume in its last run; null: all of it, or not known. */
export async function readVolumeSize(folder: string, targetSize: number): Promise<number | null> {
  const text = await readIfThere(pathIn(folder)).catch(() => null);
  const note = v.safeParse(v.pipe(v.string(), v.parseJson(), noteSchema), text);
  return note.success && note.output.targetSize === targetSize ? note.output.volumeSize : null;
}

function pathIn(folder: string): string {
  return join(folder, 'volume.json');
}
