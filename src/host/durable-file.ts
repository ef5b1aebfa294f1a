import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, mkdir, open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';
import { DeviceError, isErrno } from '../errors.js';

/** Fails where the name is taken, also by a link: in a folder that others can write to, it might lead anywhere. */
const EXCLUSIVELY = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** A FIFO that nobody writes to would be waited for, by a thread without which the process cannot even end. */
const READ_AT_ONCE = constants.O_RDONLY | constants.O_NONBLOCK;

/** Opens a new file that only its owner can read, for writing. Throws what `open` throws, EEXIST where the name is taken. */
export async function openNew(path: string): Promise<FileHandle> {
  return await open(path, EXCLUSIVELY, 0o600);
}

/**
 * Replaces a small file as a whole: after a crash it is the old one or the new one. Where it fails, nothing is left of
 * the new one. Throws DeviceError.
 */
export async function writeDurably(path: string, text: string): Promise<void> {
  // Nobody can take a name beforehand that nobody can guess.
  const next = `${path}.${randomBytes(8).toString('hex')}.new`;
  await attempt(path, 'write', async () => {
    const file = await openNew(next);
    try {
      await file
        .writeFile(text)
        .then(() => file.sync())
        .finally(() => file.close());
      await rename(next, path);
    } catch (error) {
      await unlink(next).catch(() => undefined);
      throw error;
    }
  });
  await syncFolderOf(path);
}

/** Makes an empty file, for good; one that is there already does as well. Throws DeviceError. */
export async function markDurably(path: string): Promise<void> {
  await attempt(path, 'write', async () => {
    const file = await openNew(path).catch((error: unknown) => {
      if (isErrno(error, 'EEXIST')) return null;
      throw error;
    });
    await file?.close();
  });
  await syncFolderOf(path);
}

/** A file's text, or null where there is none. Throws DeviceError. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    const file = await open(path, READ_AT_ONCE);
    return await readRegular(file).finally(() => file.close());
  } catch (error) {
    if (isMissing(error)) return null;
    throw new DeviceError(path, 'read', null, error);
  }
}

async function readRegular(file: FileHandle): Promise<string> {
  if (!(await file.stat()).isFile())
    throw new Error('it is no regular file, so lvmsync did not make it: move it away');
  return await file.readFile('utf8');
}

/**
 * A file's text that only we, or root, can have written there, or null where there is none. In a folder that others can
 * write to anyone can put one there; a link is none of ours. Throws DeviceError, also where it is another user's.
 */
export async function readOwn(path: string): Promise<string | null> {
  try {
    const file = await open(path, READ_AT_ONCE | constants.O_NOFOLLOW);
    try {
      const { uid } = await file.stat();
      if (uid !== 0 && uid !== userInfo().uid)
        throw new Error(
          `it is owned by user ${uid}, not by you or root: remove it if you did not create it`,
        );
      return await readRegular(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error) || isErrno(error, 'ELOOP')) return null;
    throw new DeviceError(path, 'read', null, error);
  }
}

/** Removes a file, if it is there, for good. Throws DeviceError. */
export async function removeDurably(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (isMissing(error)) return;
    throw new DeviceError(path, 'write', null, error);
  }
  await syncFolderOf(path);
}

/**
 * Gives a file another name for good, never in the place of something else: where that name is taken, the file keeps
 * its own. Goes on with what a crash interrupted. Throws DeviceError.
 */
export async function giveName(from: string, to: string): Promise<void> {
  await attempt(to, 'write', async () => {
    await link(from, to).catch(async (error: unknown) => {
      if (isErrno(error, 'EEXIST') && (await isSameFile(from, to))) return;
      // Some file systems know no second name: there the new one is taken first.
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP'].some((code) => isErrno(error, code))) throw error;
      await (await openNew(to)).close();
      await rename(from, to);
    });
  });
  await syncFolderOf(to);
  await removeDurably(from);
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [left, right] = await Promise.all([lstat(one), lstat(other)]);
  return left.dev === right.dev && left.ino === right.ino;
}

/** Makes the entry of `path` in its folder durable. Throws DeviceError. */
export async function syncFolderOf(path: string): Promise<void> {
  const folder = dirname(path);
  await attempt(folder, 'flush', async () => {
    const handle = await open(folder, constants.O_RDONLY);
    await handle.sync().finally(() => handle.close());
  });
}

/** Makes a folder that only its owner can enter, and those above it, for good. Throws DeviceError. */
export async function makePrivateFolder(path: string): Promise<void> {
  const folder = resolve(path);
  const first = await attempt(path, 'write', () => mkdir(folder, { recursive: true, mode: 0o700 }));
  if (first === undefined) return;
  const made = [folder];
  for (let above = folder; above !== first;) made.unshift((above = dirname(above)));
  for (const each of made) await syncFolderOf(each);
}

async function attempt<T>(path: string, operation: 'write' | 'flush', work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new DeviceError(path, operation, null, error);
  }
}

/** What kept a new file from being made, for the message of a DeviceError. */
export function describeRefusal(error: unknown): unknown {
  return isMissing(error) ? 'ENOENT: no such directory: create it first' : error;
}

function isMissing(error: unknown): boolean {
  return isErrno(error, 'ENOENT');
}
