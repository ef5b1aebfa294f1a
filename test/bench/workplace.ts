import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** A folder of this run's own, and what it lies on. */
export interface Workplace {
  readonly folder: string;
  /** Such as "ext4 (/tmp)". */
  readonly name: string;
}

const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0x0102_1994: 'tmpfs',
  0xef53: 'ext4',
  0x5846_5342: 'xfs',
  0x9123_683e: 'btrfs',
  0x794c_7630: 'overlay',
};
const made = new Set<string>();

/** A workplace in memory, or why there is none. */
export function findMemory(bytesNeeded: number): Workplace | string {
  return makeWorkplace(['/dev/shm'], bytesNeeded, (type) => type === 'tmpfs');
}

/** A workplace on a disk, or why there is none. */
export function findDisk(bytesNeeded: number): Workplace | string {
  return makeWorkplace([tmpdir(), '/var/tmp'], bytesNeeded, (type) => type !== 'tmpfs');
}

/** Removes a workplace with all that is in it. */
export function leave({ folder }: Workplace): void {
  rmSync(folder, { recursive: true, force: true });
  made.delete(folder);
}

/** Sees to it that nothing stays behind, also after Ctrl-C. */
export function cleanUpAtExit(): void {
  process.once('exit', () => {
    for (const folder of made) rmSync(folder, { recursive: true, force: true });
  });
  for (const [signal, status] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => process.exit(status));
  }
}

function makeWorkplace(
  parents: readonly string[],
  bytesNeeded: number,
  suits: (type: string) => boolean,
): Workplace | string {
  for (const parent of parents) {
    const { type, bavail, bsize } = statfsSync(parent);
    const typeName = FILE_SYSTEMS[type] ?? `file system 0x${type.toString(16)}`;
    if (!suits(typeName) || bavail * bsize < bytesNeeded) continue;
    const folder = mkdtempSync(path.join(parent, 'lvmsync-bench-'));
    made.add(folder);
    return { folder, name: `${typeName} (${parent})` };
  }
  return `${parents.join(' and ')}: not of that kind, or less than ${Math.ceil(bytesNeeded / 2 ** 30)} GiB free`;
}
