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
const undos = new Set<() => void>();
const leaves = new WeakMap<Workplace, () => void>();

/** A workplace in memory, or why there is none. */
export function findMemory(bytesNeeded: number): Workplace | string {
  return makeWorkplace(['/dev/shm'], bytesNeeded, (type) => type === 'tmpfs');
}

/** A workplace on a disk, or why there is none. */
export function findDisk(bytesNeeded: number): Workplace | string {
  return makeWorkplace([tmpdir(), '/var/tmp'], bytesNeeded, (type) => type !== 'tmpfs');
}

/** A workplace in memory, or on a disk where memory has no room, or why there is none. */
export function findAny(bytesNeeded: number): Workplace | string {
  const memory = findMemory(bytesNeeded);
  return typeof memory === 'string' ? findDisk(bytesNeeded) : memory;
}

/** Removes a workplace with all that is in it. */
export function leave(place: Workplace): void {
  leaves.get(place)?.();
}

/** Undoes something at the latest when the bench ends; returns what undoes it now. */
export function undoAtExit(undo: () => void): () => void {
  undos.add(undo);
  return () => {
    if (undos.delete(undo)) undo();
  };
}

/** Sees to it that nothing stays behind, also after Ctrl-C. */
export function cleanUpAtExit(): void {
  process.once('exit', () => {
    for (const undo of [...undos].reverse()) undo();
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
    const place = { folder, name: `${typeName} (${parent})` };
    leaves.set(
      place,
      undoAtExit(() => {
        rmSync(folder, { recursive: true, force: true });
      }),
    );
    return place;
  }
  return `${parents.join(' and ')}: not of that kind, or less than ${Math.ceil(bytesNeeded / 2 ** 30)} GiB free`;
}
