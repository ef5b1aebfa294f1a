import type { Stats } from 'node:fs';
import { DeviceError, isErrno, UnsafeTargetError } from '../errors.js';
import { deviceNumberOf, isReadOnly } from './device-facts.js';

/** What it means to a user that a device or file cannot be opened. */
export function openError(path: string, error: unknown, isToBeWritten: boolean): Error {
  if (isToBeWritten && isErrno(error, 'EBUSY')) {
    return new UnsafeTargetError(path, 'in use: mounted, or held by another program or device', {
      cause: error,
    });
  }
  return new DeviceError(path, 'open', null, error);
}

/** Throws DeviceError where the kernel refuses all writes to a device: it lets it be opened all the same. */
export async function refuseReadOnly(path: string, stats: Stats): Promise<void> {
  if (!stats.isBlockDevice() || !(await isReadOnly(deviceNumberOf(stats)))) return;
  const advice = 'blockdev --setrw, or of a view that was cut short lvmsync view close, lets it be written';
  throw new DeviceError(path, 'open', null, `EROFS: the device is read-only (${advice})`);
}
