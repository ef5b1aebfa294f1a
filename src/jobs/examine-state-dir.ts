import { constants, type Stats } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeCause } from '../errors.js';
import { ok, problem, warning, type Finding } from './finding.js';

const CHECK = 'state directory';
const MEBIBYTE = 1024 * 1024;
/** Less free space than this is worth a word. Bytes. */
const LITTLE_ROOM = 1024 * MEBIBYTE;
/** https://man7.org/linux/man-pages/man2/statfs.2.html */
const MEMORY_FILE_SYSTEMS = new Set([0x01021994, 0x858458f6]);

/** Looks at where journals, locks and records will lie. Makes nothing. */
export async function examineStateDir(path: string): Promise<Finding> {
  const found = await findNearest(path);
  const exists = found.path === path;
  if (!found.stats.isDirectory())
    return problem(CHECK, `${found.path} is no folder`, 'name another: --state-dir');
  try {
    await access(found.path, constants.W_OK | constants.X_OK);
  } catch (error) {
    const what = exists ? 'cannot be written' : `does not exist, and ${found.path} cannot be written`;
    return problem(
      CHECK,
      `${path} ${what} (${describeCause(error)})`,
      'be root, or name another: --state-dir',
    );
  }
  const { bavail, bsize, type } = await statfs(found.path);
  const free = bavail * bsize;
  const text = `${path} ${exists ? 'is there' : 'can be made'}, ${Math.floor(free / MEBIBYTE)} MiB are free`;
  if (exists && (found.stats.mode & 0o077) !== 0) {
    return warning(CHECK, `${text}; others can look into it`, `chmod 700 ${path}`);
  }
  if (MEMORY_FILE_SYSTEMS.has(type)) {
    const why = 'it lies in memory: what takes a target back after a crash would be gone with it';
    return warning(CHECK, `${text}; ${why}`, 'name a place on a disk: --state-dir');
  }
  if (free < LITTLE_ROOM) {
    const advice = 'a journal takes as much as a run overwrites: name another place: --state-dir';
    return warning(CHECK, text, advice);
  }
  return ok(CHECK, text);
}

/** The path itself, or the nearest folder above it that exists. */
async function findNearest(path: string): Promise<{ path: string; stats: Stats }> {
  for (let at = path; ; at = dirname(at)) {
    const stats = await stat(at).catch(() => null);
    if (stats !== null || at === dirname(at)) return { path: at, stats: stats ?? (await stat('/')) };
  }
}
