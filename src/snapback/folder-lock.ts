import { join } from 'node:path';
import { lockFile, shareLockFile, type RunLock } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';

const NAME = '.lvmsync-prune.lock';

/**
 * Makes a folder of archives ours alone: nobody else combines and removes what is in it, nor goes back by it. The
 * folder must be there. Throws LockedError, DeviceError.
 */
export async function lockArchives(folder: string, what: string, about: Surroundings): Promise<RunLock> {
  const holder = { what, pid: process.pid, startedAt: about.now() };
  const nameless = 'a restore or a check that reads them, or a prune that has just begun';
  return await lockFile(join(folder, NAME), subjectOf(folder), holder, nameless);
}

/**
 * Does some work that reads a folder's archives, which stay meanwhile; beside others who do the same. A folder
 * that takes no lock keeps nobody from it. Throws LockedError where it is being pruned; what the work throws.
 */
export async function keepingArchives<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const lock = await shareLockFile(join(folder, NAME), subjectOf(folder));
  try {
    return await work();
  } finally {
    await lock?.release();
  }
}

function subjectOf(folder: string): string {
  return `what is in ${folder}`;
}
