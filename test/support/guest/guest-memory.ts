import { readFileSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';

const TMPFS_MAGIC = 0x01021994;

/**
 * The folder for the deleted file that is the guest's memory: it must allow executable mappings and have
 * room. A tmpfs comes first, as elsewhere every dirty page of the guest travels to a disk.
 *
 * @throws Error where no folder of this machine will do.
 */
export function findMemoryFolder(memoryMiB: number): string {
  const runtime = process.env['XDG_RUNTIME_DIR'];
  const candidates = ['/dev/shm', ...(runtime === undefined ? [] : [runtime]), tmpdir(), '/var/tmp'];
  const usable = candidates.filter((folder) => hasRoom(folder, memoryMiB) && !isNoExec(folder));
  const chosen = usable.find((folder) => statfsSync(folder).type === TMPFS_MAGIC) ?? usable[0];
  if (chosen === undefined) {
    throw new Error(`no folder with ${memoryMiB} MiB for the guest's memory among ${candidates.join(', ')}`);
  }
  return chosen;
}

function hasRoom(folder: string, memoryMiB: number): boolean {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize >= memoryMiB * 1024 * 1024;
  } catch {
    return false;
  }
}

/** Whether the mount that holds a folder refuses executable mappings; /proc/mounts lists later mounts later. */
function isNoExec(folder: string): boolean {
  const holding = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, point]) => point === '/' || folder === point || folder.startsWith(`${point ?? ''}/`))
    .sort(([, a = ''], [, b = '']) => a.length - b.length)
    .at(-1);
  return (holding?.[3] ?? '').split(',').includes('noexec');
}
