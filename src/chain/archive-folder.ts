import { readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { streamFile, type RandomFile } from '../archive/archive-index.js';
import { withFile } from '../archive/archive.js';
import { UNFINISHED } from '../archive/new-archive.js';
import { readStart } from '../archive/scan-archive.js';
import { DeviceError, LvmsyncError, TruncatedStreamError } from '../errors.js';
import { lockFile, shareLockFile, type RunLock } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';
import { readEndFrame } from '../stream/stored/frames-at.js';
import type { StreamHeader } from '../stream/stream-header.js';

const MAGIC = 'lvmsync PROTO[';

/** An archive in a folder, as far as a short look shows. Sizes in bytes. */
export interface ListedArchive {
  readonly path: string;
  readonly name: string;
  /** Whether the name is a symbolic link to the file. */
  readonly isLink: boolean;
  /** The size of the file. */
  readonly size: number;
  /** When the file was last written. */
  readonly modified: Date;
  readonly protocol: 3 | 4 | null;
  /** Null in PROTO[3], and if it cannot be read. */
  readonly header: StreamHeader | null;
  /** The bytes that its blocks cover; null if only a full read could tell. */
  readonly bytes: number | null;
  /** Why it cannot be used, or null. */
  readonly problem: LvmsyncError | null;
}

/**
 * The archives in a folder, the latest first: every file that begins or ends as one, except unfinished ones, and files that
 * cannot be read. Only the beginnings and ends of files are read. Throws DeviceError if the folder cannot be read.
 *
 * @param tellOther called with the path of everything else that is not hidden
 */
export async function listArchives(
  folder: string,
  tellOther: (path: string) => void = () => undefined,
): Promise<ListedArchive[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new DeviceError(folder, 'read', null, error);
  });
  const listed: ListedArchive[] = [];
  for (const name of names.sort()) {
    if (UNFINISHED.test(name) || name.endsWith('.partial')) continue;
    const found = await look(join(folder, name), name);
    if (found !== null) listed.push(found);
    else if (!name.startsWith('.')) tellOther(join(folder, name));
  }
  return listed.sort((a, b) => timeOf(b) - timeOf(a) || (a.name < b.name ? -1 : 1));
}

/**
 * When an archive was made, according to its header; if that has no valid time, when the file was written.
 * Milliseconds.
 */
export function timeOf({ header, modified }: Pick<ListedArchive, 'header' | 'modified'>): number {
  return Date.parse(header?.time ?? '') || modified.getTime();
}

async function look(path: string, name: string): Promise<ListedArchive | null> {
  const stats = await stat(path).catch(() => null);
  if (stats?.isFile() !== true) return null;
  const isLink = await readlink(path).then(
    () => true,
    () => false,
  );
  const facts = { path, name, isLink, size: stats.size, modified: stats.mtime };
  const unknown = { protocol: null, header: null, bytes: null, problem: null };
  try {
    return await withFile(path, async (random) => {
      // Its end shows that it is one, although its first bytes are damaged.
      const isOne = (await beginsAsStream(random)) || (await readEndFrame(streamFile(random))) !== null;
      if (!isOne) return null;
      return { ...facts, ...unknown, ...(await describe(random)) };
    });
  } catch (error) {
    if (!(error instanceof LvmsyncError)) throw error;
    return { ...facts, ...unknown, problem: error };
  }
}

async function beginsAsStream({ path, file }: RandomFile): Promise<boolean> {
  const start = Buffer.alloc(MAGIC.length);
  await file.read(start, 0, start.length, 0).catch((error: unknown) => {
    throw new DeviceError(path, 'read', 0, error);
  });
  return start.toString('latin1') === MAGIC;
}

async function describe(random: RandomFile): Promise<Partial<ListedArchive>> {
  const { protocol, header, end } = await readStart(random);
  if (header === null) return { protocol };
  if (end === null) {
    const problem = new TruncatedStreamError(random.path, random.size, 'its end frame is missing');
    return { protocol, header, problem };
  }
  const { dataBytes, zeroBytes, discardBytes } = end.totals;
  return { protocol, header, bytes: dataBytes + zeroBytes + discardBytes };
}

const NAME = '.lvmsync-prune.lock';

/**
 * Locks a folder of archives for us: no other run combines or removes what is in it, or restores from it. The folder
 * must exist. Throws LockedError, DeviceError.
 */
export async function lockArchives(folder: string, what: string, env: Surroundings): Promise<RunLock> {
  const holder = { what, pid: process.pid, startedAt: env.now() };
  const nameless = 'a restore or a check that reads them, or a prune that has just begun';
  return await lockFile(join(folder, NAME), subjectOf(folder), holder, nameless);
}

/**
 * Runs work that reads a folder's archives, which stay meanwhile; several runs can do this at once. If the folder
 * cannot be locked, the work runs without a lock. Throws LockedError if the folder is being pruned; what the work
 * throws.
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
