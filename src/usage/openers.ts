import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { deviceNumberOf, type DeviceNumber } from '../device/device-facts.js';
import { isSameFile, type FileIdentity } from './device-tree.js';
import { parseMountInfo } from './mount-tables.js';

const ACCESS_MODE = 0o3;
const READ_ONLY = 0;
/** O_PATH: a name that is held, not an open device. */
const PATH_ONLY = 0o10_000_000;
/** A server that is away would hold up whoever only asks for a file's status, and no device's node lies on one. */
const FAR_FILE_SYSTEM = /^(nfs|cifs|smb|ceph|fuse|9p|afs|lustre|gluster|gpfs)/;
const MOST_NAMED = 3;

/** Who counts: who has it open to write, or who has it open at all. */
export type Openers = 'anyone' | 'writers';

/**
 * Which other processes have a device or a file open, in words after "it is"; null where nobody is seen. Those of
 * other users show to root only. System calls that wait for nothing are cheaper here than promises of them: a busy
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

/** What cannot be read is taken for open for writing: its descriptor was there a moment ago. */
function readFlags(path: string): number {
  const text = attempt(() => readFileSync(path, 'latin1')) ?? '';
  return parseInt(/^flags:\s*([0-7]+)/m.exec(text)?.[1] ?? '2', 8);
}

/** Tells the paths that lie on far file systems, but for the one that the target itself lies on. */
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

/** What others own, and what ends while we look, is passed over. */
function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
