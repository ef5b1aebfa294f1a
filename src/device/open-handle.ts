import { type Stats, constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { DeviceError, isErrno, UnsafeTargetError } from '../errors.js';
import { deviceNumberOf, isReadOnly } from './device-facts.js';

/** The error for a device or file that cannot be opened. */
export function openError(path: string, error: unknown, isToBeWritten: boolean): Error {
  if (isToBeWritten && isErrno(error, 'EBUSY')) {
    return new UnsafeTargetError(path, 'in use: mounted, or held by another program or device', {
      cause: error,
    });
  }
  return new DeviceError(path, 'open', null, error);
}

/** Throws DeviceError if a device is read-only: the kernel lets it be opened for writing, and refuses the writes. */
export async function refuseReadOnly(path: string, stats: Stats): Promise<void> {
  if (!stats.isBlockDevice() || !(await isReadOnly(deviceNumberOf(stats)))) return;
  const advice =
    '"blockdev --setrw" makes it writable; if it was left by an interrupted view, run "lvmsync view close"';
  throw new DeviceError(path, 'open', null, `EROFS: the device is read-only (${advice})`);
}

interface HandleWish {
  readonly writable: boolean;
  readonly followLinks: boolean;
  readonly mustBeDirect: boolean;
}

/**
 * Opens a path, with direct I/O if that is wanted and the device allows it. Throws DeviceError; UnsafeTargetError if it
 * is opened for writing and is in use.
 */
export async function openHandle(
  path: string,
  stats: Stats,
  direct: boolean,
  { writable, followLinks, mustBeDirect }: HandleWish,
): Promise<{ readonly file: FileHandle; readonly direct: boolean }> {
  let flags = writable ? constants.O_RDWR : constants.O_RDONLY;
  // On a block device O_EXCL, without O_CREAT, claims it: it fails while mounted or part of a dm table.
  if (writable && stats.isBlockDevice()) flags |= constants.O_EXCL;
  if (!followLinks) flags |= constants.O_NOFOLLOW;
  if (direct) {
    try {
      return { file: await open(path, flags | constants.O_DIRECT), direct };
    } catch (error) {
      if (!isErrno(error, 'EINVAL') || mustBeDirect) throw openError(path, error, writable);
    }
  }
  try {
    return { file: await open(path, flags), direct: false };
  } catch (error) {
    throw openError(path, error, writable);
  }
}
