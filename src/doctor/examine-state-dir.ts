import { constants, type Stats } from 'node:fs';
import { access, open, readdir, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describeCause } from '../errors.js';
import { isByteLocked } from '../host/system-calls.js';
import { sharedFileSystemOf } from '../usage/write-stamp.js';
import { ok, problem, warning, type Finding } from './finding.js';

const CHECK = 'state directory';
const MEBIBYTE = 1024 * 1024;
/** Less free space than this is a warning. Bytes. */
const LITTLE_ROOM = 1024 * MEBIBYTE;
/** With less free space, no journal can be started. Bytes. */
const NO_ROOM = 4 * MEBIBYTE;
const ANOTHER_PLACE =
  'a journal needs as much space as a run overwrites: choose another directory with --state-dir';
/** https://man7.org/linux/man-pages/man2/statfs.2.html */
const MEMORY_FILE_SYSTEMS = new Set([0x01021994, 0x858458f6]);

/** Examines the directory for journals, locks and records. Creates nothing. */
export async function examineStateDir(path: string): Promise<Finding[]> {
  const found = await findNearest(path);
  const exists = found.path === path;
  if (!found.stats.isDirectory()) return [noFolder(found.path)];
  try {
    await access(found.path, constants.W_OK | constants.X_OK);
  } catch (error) {
    const what = exists ? 'cannot be written' : `does not exist, and ${found.path} cannot be written`;
    const text = `${path} ${what} (${describeCause(error)})`;
    return [problem(CHECK, text, 'run as root, or choose another with --state-dir')];
  }
  const room = await statfs(found.path);
  const findings = [
    ...judgeRoom(path, room),
    ...judgeKind(path, room.type),
    ...(await examineLocks(path)),
    ...(exists && (found.stats.mode & 0o077) !== 0
      ? [warning(CHECK, `others can look into ${path}`, `chmod 700 ${path}`)]
      : []),
  ];
  const free = Math.floor((room.bavail * room.bsize) / MEBIBYTE);
  const text = `${path} ${exists ? 'is there' : 'can be made'}, ${free} MiB are free`;
  return findings.length === 0 ? [ok(CHECK, text)] : findings;
}

/** The finding for a state directory that is something other than a directory. */
export function noFolder(path: string): Finding {
  return problem(CHECK, `${path} is not a directory`, 'choose another with --state-dir');
}

/** What statfs reports about a file system. */
type Room = Readonly<Record<'bavail' | 'bsize' | 'blocks' | 'files' | 'ffree', number>>;

function judgeRoom(path: string, { bavail, bsize, blocks, files, ffree }: Room): Finding[] {
  const free = bavail * bsize;
  const text = `${path} lies on a file system of ${Math.floor((blocks * bsize) / MEBIBYTE)} MiB, ${Math.floor(free / MEBIBYTE)} MiB are free`;
  // Some file systems do not count inodes, and report 0 for both.
  if (files > 0 && ffree === 0)
    return [problem(CHECK, `${text}, but no inode is: no file can be made`, ANOTHER_PLACE)];
  if (free < NO_ROOM) return [problem(CHECK, `${text}: no journal can be begun`, ANOTHER_PLACE)];
  return free < LITTLE_ROOM ? [warning(CHECK, text, ANOTHER_PLACE)] : [];
}

function judgeKind(path: string, type: number): Finding[] {
  if (MEMORY_FILE_SYSTEMS.has(type)) {
    const why =
      'lies in memory: a reboot or a crash takes journals with it, and then nothing takes a target back';
    return [warning(CHECK, `${path} ${why}`, 'name a place on a disk: --state-dir')];
  }
  const shared = sharedFileSystemOf(type);
  if (shared === null) return [];
  const why =
    'locks and flushes are only as good as the server there makes them, and another host with the same folder takes these journals for its own';
  return [
    warning(CHECK, `${path} lies on ${shared}: ${why}`, 'name a place on a disk of this host: --state-dir'),
  ];
}

/** Whether files there can be locked. Asks about a file of an earlier run, and locks nothing. */
async function examineLocks(path: string): Promise<Finding[]> {
  const [key] = await readdir(join(path, 'targets')).catch(() => []);
  if (key === undefined) return [];
  const file = await open(join(path, 'targets', key, 'lock'), 'r').catch(() => null);
  if (file === null) return [];
  try {
    await isByteLocked(file.fd, 0);
    return [];
  } catch (error) {
    const text = `files in ${path} cannot be locked (${describeCause(error)}): two runs could write one target`;
    return [problem(CHECK, text, 'name a place on another file system: --state-dir')];
  } finally {
    await file.close();
  }
}

/** The path itself, or the nearest folder above it that exists. */
async function findNearest(path: string): Promise<{ path: string; stats: Stats }> {
  for (let at = path; ; at = dirname(at)) {
    const stats = await stat(at).catch(() => null);
    if (stats !== null || at === dirname(at)) return { path: at, stats: stats ?? (await stat('/')) };
  }
}
