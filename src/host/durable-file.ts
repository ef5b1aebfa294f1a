import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, link, lstat, mkdir, open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';
import { DeviceError, isErrno } from '../errors.js';

/** Fails if the name is taken, even by a link: in a folder that others can write to, a link may point anywhere. */
const EXCLUSIVELY = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Without O_NONBLOCK, opening a FIFO without a writer would block a thread, and the process could not end. */
const READ_AT_ONCE = constants.O_RDONLY | constants.O_NONBLOCK;

/**
 * Opens a new file for writing that only its owner can read. Throws what `open` throws: EEXIST if the name is taken.
 */
export async function openNew(path: string): Promise<FileHandle> {
  return await open(path, EXCLUSIVELY, 0o600);
}

/**
 * Replaces a small file atomically: after a crash it is the old file or the new one. If this fails, nothing of the new
 * file stays. Throws DeviceError.
 */
export async function writeDurably(path: string, text: string): Promise<void> {
  // A random name, so that no one else can take it first.
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

/** Makes an empty file durably, unless it already exists. Throws DeviceError. */
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

/** Whether there is a file of this name. */
export async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** A file's text; null: there is no such file. Throws DeviceError. */
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
    throw new Error('it is not a regular file, so lvmsync did not create it: move it away');
  return await file.readFile('utf8');
}

/**
 * The text of a file that belongs to us or root; null: there is no such file, or it is a link, which we never make. For
 * folders that others can write to. Throws DeviceError, also if the file belongs to another user.
 */
export async function readOwn(path: string): Promise<string | null> {
  try {
    const file = await open(path, READ_AT_ONCE | constants.O_NOFOLLOW);
    try {
      const { uid } = await file.stat();
      if (uid !== 0 && uid !== userInfo().uid)
        throw new Error(`it is owned by user ${uid}, not by you or root: remove it if you did not create it`);
      return await readRegular(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error) || isErrno(error, 'ELOOP')) return null;
    throw new DeviceError(path, 'read', null, error);
  }
}

/** Removes a file durably, if it exists. Throws DeviceError. */
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
 * Renames a file durably and never overwrites: if the new name is taken, the file keeps its old one. Finishes a rename
 * that a crash interrupted. Throws DeviceError.
 */
export async function giveName(from: string, to: string): Promise<void> {
  await attempt(to, 'write', async () => {
    await link(from, to).catch(async (error: unknown) => {
      if (isErrno(error, 'EEXIST') && (await isSameFile(from, to))) return;
      // Some file systems have no hard links: there, reserve the new name with an empty file first.
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

/** Makes a folder that only its owner can enter, and the missing ones above it, durably. Throws DeviceError. */
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

/** Why a new file could not be made, for the message of a DeviceError. */
export function describeRefusal(error: unknown): unknown {
  return isMissing(error) ? 'ENOENT: no such directory: create it first' : error;
}

function isMissing(error: unknown): boolean {
  return isErrno(error, 'ENOENT');
}
