import { readdir, readFile, readlink } from 'node:fs/promises';
import type { DeviceNumber } from '../device/device-facts.js';
import { isDeviceNumber } from '../lvm/device-node.js';

/** A line of mountinfo, as proc(5) has it. */
export interface Mount {
  /** The number of the file system's device, or a number of its own that begins with `0:`. */
  readonly number: DeviceNumber;
  readonly point: string;
  readonly type: string;
  readonly source: string;
}

/** One mount namespace, as a process in it sees it. */
export interface MountTable {
  /** A process's folder in /proc: `self`, or its id. */
  readonly process: string;
  readonly mounts: readonly Mount[];
}

/** The mounts of every namespace that we may read, our own first. */
export async function readMountTables(): Promise<MountTable[]> {
  const processes = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const seen = new Set<string>();
  const tables: MountTable[] = [];
  for (const process of ['self', ...processes]) {
    const namespace = await readlink(`/proc/${process}/ns/mnt`).catch(() => null);
    if (namespace === null || seen.has(namespace)) continue;
    const text = await readFile(`/proc/${process}/mountinfo`, 'utf8').catch(() => null);
    if (text === null) continue;
    seen.add(namespace);
    tables.push({ process, mounts: parseMountInfo(text) });
  }
  return tables;
}

/** Parses a mountinfo file. */
export function parseMountInfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , number, , point = ''] = before.split(' ');
    const [type = '', source = ''] = after.split(' ');
    if (!isDeviceNumber(number)) return [];
    return [{ number, point: unescapeOctal(point), type, source: unescapeOctal(source) }];
  });
}

/** The kernel writes blanks and the like as a backslash and three octal digits. */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
