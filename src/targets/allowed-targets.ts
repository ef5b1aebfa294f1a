import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { deviceNumberOf, type DeviceNumber } from '../device/device-facts.js';
import { UnsafeTargetError, UsageError } from '../errors.js';

/** What identifies a target, whatever its names. */
export interface TargetIdentity {
  /** Null: an image file. */
  readonly number: DeviceNumber | null;
  /** Without links. */
  readonly realPath: string;
}

/** A glob, split where its wildcards begin. */
interface Glob {
  /** The folder before the first part with a wildcard, or before the last part. */
  readonly folder: string;
  readonly parts: readonly RegExp[];
}

/**
 * The targets that a locked-down receiver may open, by globs. A name is looked up, never trusted: a device is compared
 * by its number with those that the globs match, a file by its real path.
 */
export class AllowedTargets {
  private constructor(private readonly globs: readonly Glob[]) {}

  /**
   * Parses globs. A glob is an absolute path; `*` and `?` match characters within one part of it, except a leading dot.
   * Throws UsageError.
   */
  static of(globs: readonly string[]): AllowedTargets {
    return new AllowedTargets(globs.map(parseGlob));
  }

  async include(target: TargetIdentity): Promise<boolean> {
    for (const glob of this.globs) if (await leadsTo(glob, target)) return true;
    return false;
  }
}

/** The only refusal: it says the same whether the target is not allowed or does not exist. */
export function notAllowed(name: string): UnsafeTargetError {
  return new UnsafeTargetError(name, 'not among the targets that this receiver allows');
}

function parseGlob(glob: string): Glob {
  const [before, ...parts] = glob.split('/');
  if (before !== '' || parts.length === 0 || parts.some((part) => /^\.{0,2}$|\*\*|\0/.test(part))) {
    throw new UsageError(
      `--allow ${glob}: a pattern is an absolute path without "." and "..", and "*" matches within one part of it`,
    );
  }
  const first = parts.findIndex((part) => /[*?]/.test(part));
  const fixed = first === -1 ? parts.length - 1 : first;
  return { folder: `/${parts.slice(0, fixed).join('/')}`, parts: parts.slice(fixed).map(toRegExp) };
}

function toRegExp(part: string): RegExp {
  const source = part
    .replace(/[\\^$.+()|[\]{}]/g, '\\$&')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]');
  return new RegExp(/^[*?]/.test(part) ? `^(?!\\.)${source}$` : `^${source}$`, 'su');
}

async function leadsTo(glob: Glob, { number, realPath }: TargetIdentity): Promise<boolean> {
  // The author of the glob may name the folder by a link; a client cannot.
  const folder = await realpath(glob.folder).catch(() => null);
  if (folder === null) return false;
  if (number === null) return isBelow(folder, glob.parts, realPath);
  for (const path of await expand(folder, glob.parts)) {
    if ((await deviceAt(path)) === number) return true;
  }
  return false;
}

function isBelow(folder: string, parts: readonly RegExp[], realPath: string): boolean {
  const prefix = folder === '/' ? '/' : `${folder}/`;
  if (!realPath.startsWith(prefix)) return false;
  const names = realPath.slice(prefix.length).split('/');
  return names.length === parts.length && parts.every((part, index) => part.test(names[index] ?? ''));
}

/** The paths that match: through folders, never through links to folders. */
async function expand(folder: string, [part, ...more]: readonly RegExp[]): Promise<string[]> {
  if (part === undefined) return [];
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const matching = entries.filter(({ name }) => part.test(name));
  if (more.length === 0) return matching.map(({ name }) => join(folder, name));
  const folders = matching.filter((entry) => entry.isDirectory());
  return (await Promise.all(folders.map(({ name }) => expand(join(folder, name), more)))).flat();
}

/** The device that a path names, directly or through a link like those of LVM and udev; else null. */
async function deviceAt(path: string): Promise<DeviceNumber | null> {
  const entry = await lstat(path).catch(() => null);
  if (entry === null) return null;
  if (entry.isBlockDevice()) return deviceNumberOf(entry);
  if (!entry.isSymbolicLink() || !(await holdsNodes(dirname(path)))) return null;
  const target = await stat(path).catch(() => null);
  return target?.isBlockDevice() === true ? deviceNumberOf(target) : null;
}

/** Whether a folder is in /dev and only root, or we, can put links there. In /dev/shm, for example, any user can. */
async function holdsNodes(folder: string): Promise<boolean> {
  const stats = await stat(folder).catch(() => null);
  if (stats === null || !`${folder}/`.startsWith('/dev/')) return false;
  return (stats.uid === 0 || stats.uid === process.geteuid?.()) && (stats.mode & 0o022) === 0;
}
