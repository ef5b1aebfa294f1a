import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { deviceNumberOf, type DeviceNumber } from '../device/device-facts.js';
import { isSameFile, type FileIdentity } from './device-tree.js';
import { parseMountInfo } from './mount-tables.js';

const ACCESS_MODE = 0o3;
const READ_ONLY = 0;
/** O_PATH: refers to a name, and is not an open device. */
const PATH_ONLY = 0o10_000_000;
/** If its server is away, even a stat blocks. These file systems contain no device nodes of this host. */
const FAR_FILE_SYSTEM = /^(nfs|cifs|smb|ceph|fuse|9p|afs|lustre|gluster|gpfs)/;
const MOST_NAMED = 3;

/** Which processes count: those that have it open for writing, or all that have it open. */
export type Openers = 'anyone' | 'writers';

/**
 * The other processes that have a device or a file open, in words after "it is"; null: none is visible. Only root sees
 * the processes of other users. Synchronous system calls are cheaper here than promises: they do not block, and a busy
 * host has tens of thousands of open files.
 */
export function findOpener(
  target: DeviceNumber | FileIdentity,
  who: Openers,
  targetPath: string,
): string | null {
  const isFar = farFolders(targetPath);
  const self = readLink('/proc/self');
  const names = listFolder('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== self)
    .filter((process) => hasOpen(process, target, who, isFar))
    .map(describeProcess);
  if (names.length === 0) return null;
  const more = names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : '';
  const plural = names.length > 1 ? 'processes' : 'process';
  return `open in ${plural} ${names.slice(0, MOST_NAMED).join(', ')}${more}: stop that first`;
}

function hasOpen(
  process: string,
  target: DeviceNumber | FileIdentity,
  who: Openers,
  isFar: (path: string) => boolean,
): boolean {
  const folder = `/proc/${process}`;
  return listFolder(`${folder}/fd`).some((fd) => {
    const path = readLink(`${folder}/fd/${fd}`);
    if (path?.startsWith('/') !== true || path === '/dev/null' || isFar(path)) return false;
    if (!leadsTo(`${folder}/fd/${fd}`, target)) return false;
    const flags = readFlags(`${folder}/fdinfo/${fd}`);
    if ((flags & PATH_ONLY) !== 0) return false;
    return who === 'anyone' || (flags & ACCESS_MODE) !== READ_ONLY;
  });
}

function leadsTo(path: string, target: DeviceNumber | FileIdentity): boolean {
  const stats = attempt(() => statSync(path, { throwIfNoEntry: false }));
  if (stats === undefined) return false;
  if (typeof target === 'string') return stats.isBlockDevice() && deviceNumberOf(stats) === target;
  return stats.isFile() && isSameFile(stats, target);
}

/** If it cannot be read, assume that it is open for writing: the descriptor existed a moment ago. */
function readFlags(path: string): number {
  const text = attempt(() => readFileSync(path, 'latin1')) ?? '';
  return parseInt(/^flags:\s*([0-7]+)/m.exec(text)?.[1] ?? '2', 8);
}

/** Whether a path is on a network file system other than the target's own. */
function farFolders(targetPath: string): (path: string) => boolean {
  const mounts = parseMountInfo(attempt(() => readFileSync('/proc/self/mountinfo', 'utf8')) ?? '');
  const folders = mounts
    .filter(({ type, point }) => FAR_FILE_SYSTEM.test(type) && !targetPath.startsWith(`${point}/`))
    .map(({ point }) => `${point}/`);
  return (path) => folders.some((folder) => path.startsWith(folder));
}

function describeProcess(process: string): string {
  const name = attempt(() => readFileSync(`/proc/${process}/comm`, 'utf8').trim());
  return name === undefined ? process : `${process} (${name})`;
}

function listFolder(path: string): string[] {
  return attempt(() => readdirSync(path)) ?? [];
}

function readLink(path: string): string | undefined {
  return attempt(() => readlinkSync(path));
}

/** Undefined for a process of another user, or one that ends while we look. */
function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
