import { readFileSync } from 'node:fs';
import { attempt } from './file-locks.js';

/** Where udevd listens. LVM takes the presence of this node as a sign that udev runs. */
const CONTROL = '/run/udev/control';
/** The upper half of the key of each of device-mapper's semaphores. */
const COOKIE_MAGIC = 0x0d4d;

/** What to do if LVM leaves device nodes to a udev that does not make them. */
export const UDEV_ADVICE =
  'if udev does not run here (in a container or a chroot), set udev_sync = 0 and udev_rules = 0 in the activation section of lvm.conf, ' +
  'so that LVM creates the device nodes itself ("vgmknodes" creates those that are missing now), or run lvmsync on the host';

/** A semaphore by which a program waits until udev has done its part. */
export interface UdevCookie {
  /** As `dmsetup udevcomplete` accepts it. */
  readonly name: string;
  /** The semaphore's number. */
  readonly semid: number;
  /** Seconds since 1970. */
  readonly madeAt: number;
}

/** Whether udevd listens, as far as this network namespace shows. */
export function isUdevListening(): boolean {
  const sockets = attempt(() => readFileSync('/proc/net/unix', 'latin1')) ?? '';
  return sockets.split('\n').some((line) => line.endsWith(` ${CONTROL}`));
}

/** The cookies by which programs wait for udev right now. */
export function findUdevCookies(): UdevCookie[] {
  return parseSemaphores(attempt(() => readFileSync('/proc/sysvipc/sem', 'latin1')) ?? '');
}

/**
 * Finds the cookies in /proc/sysvipc/sem. A line begins with the key in decimal and the number, and ends with the time
 * of the last change.
 */
export function parseSemaphores(text: string): UdevCookie[] {
  return text.split('\n').flatMap((line) => {
    const [key, semid, ...rest] = line.trim().split(/\s+/).map(Number);
    if (key === undefined || semid === undefined || key >>> 16 !== COOKIE_MAGIC) return [];
    return [{ name: `0x${key.toString(16)}`, semid, madeAt: rest.at(-1) ?? 0 }];
  });
}
