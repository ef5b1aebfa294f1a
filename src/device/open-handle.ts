import { constants, type Stats } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { isErrno } from '../errors.js';
import { openError } from './open-error.js';

interface HandleWish {
  readonly writable: boolean;
  readonly followLinks: boolean;
  readonly mustBeDirect: boolean;
}

/**
 * Opens a path, past the page cache where that is wanted and the device allows it. Throws DeviceError;
 * UnsafeTargetError where it is to be written and is in use.
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
