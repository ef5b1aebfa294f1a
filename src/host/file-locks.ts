import { readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { isByteLocked, tryToShareByte } from './system-calls.js';

/** As much of a command line as fits into a message. */
const MOST_WORDS = 100;

/** A process in words, such as `process 12 (lvcreate -n x vg)`. */
export function describeProcess(pid: number): string {
  const words =
    attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim()) ?? '';
  const name =
    words === '' ? attempt(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()) : shorten(words);
  return name === undefined ? `process ${pid}` : `process ${pid} (${name})`;
}

function shorten(words: string): string {
  return words.length > MOST_WORDS ? `${words.slice(0, MOST_WORDS)}…` : words;
}

/** What others own, and what ends while we look, is passed over. */
export function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** A lock that a process waits for, and who has it. */
export interface LockWait {
  /** The lock's file; null where it does not show. */
  readonly path: string | null;
  /** Who holds it, in words such as `process 12 (lvcreate …)`; none where nobody shows. */
  readonly holders: readonly string[];
}

/** A line of /proc/locks. */
interface LockLine {
  /** `MAJOR:MINOR:INODE`. */
  readonly file: string;
  readonly pid: number;
  readonly isWaiting: boolean;
}

/** Who waits for another that waits himself, and so on: as far as this is followed. */
const LONGEST_CHAIN = 8;

/**
 * What lock on a file a process waits for; null where it waits for none that shows here. Of a chain of those who wait
 * for each other the last one is named: LVM's readers queue up behind a writer that waits.
 */
export function findLockWait(pid: number): LockWait | null {
  const lines = parseLocks(attempt(() => readFileSync('/proc/locks', 'latin1')) ?? '');
  let wait = waitOf(pid, lines);
  if (wait === null) return null;
  for (let length = 1; length < LONGEST_CHAIN; length++) {
    const next: LockLine | undefined = holdersOf(wait, lines).flatMap(
      (each) => waitOf(each.pid, lines) ?? [],
    )[0];
    if (next === undefined) break;
    wait = next;
  }
  const path = pathOf(wait);
  const waiting = new Set(lines.filter((each) => each.isWaiting).map((each) => each.pid));
  const pids = holdersOf(wait, lines)
    .map((each) => each.pid)
    .filter(isAlive);
  const holders = pids.length > 0 || path === null ? pids : openersOf(path, waiting);
  return { path, holders: holders.map(describeProcess) };
}

/** Whether anyone has a lock on the file with this inode, as far as this process namespace shows. Takes none. */
export function isFileLocked(inode: number): boolean {
  const lines = parseLocks(attempt(() => readFileSync('/proc/locks', 'latin1')) ?? '');
  return lines.some((each) => !each.isWaiting && Number(each.file.split(':')[2]) === inode);
}

/** Takes /proc/locks apart: https://docs.kernel.org/filesystems/proc.html, "/proc/locks". */
export function parseLocks(text: string): LockLine[] {
  return text.split('\n').flatMap((line) => {
    const [, arrow, pid, file] =
      /^\d+: (\s*-> )?\w+\s+\w+\s+\w+\s+(-?\d+) ([0-9a-f]+:[0-9a-f]+:\d+) /.exec(line) ?? [];
    if (pid === undefined || file === undefined) return [];
    return [{ file, pid: Number(pid), isWaiting: arrow !== undefined }];
  });
}

function waitOf(pid: number, lines: readonly LockLine[]): LockLine | null {
  return lines.find((each) => each.isWaiting && each.pid === pid) ?? null;
}

function holdersOf({ file }: LockLine, lines: readonly LockLine[]): LockLine[] {
  return lines.filter((each) => !each.isWaiting && each.file === file);
}

/** The path by which the waiting process has the lock's file open. */
function pathOf({ pid, file }: LockLine): string | null {
  const inode = Number(file.split(':')[2]);
  const folder = `/proc/${pid}/fd`;
  const fds = attempt(() => readdirSync(folder)) ?? [];
  const fd = fds.find((each) => {
    const stats = attempt(() => statSync(`${folder}/${each}`));
    return stats?.isFile() === true && stats.ino === inode;
  });
  return fd === undefined ? null : (attempt(() => readlinkSync(`${folder}/${fd}`)) ?? null);
}

function isAlive(pid: number): boolean {
  return attempt(() => statSync(`/proc/${pid}`)) !== undefined;
}

/** A lock outlives the process that took it while others, its children or a shell, have the same file open. */
function openersOf(path: string, waiting: ReadonlySet<number>): number[] {
  const pids = (attempt(() => readdirSync('/proc')) ?? []).map(Number).filter((pid) => pid > 0);
  return pids.filter((pid) => !waiting.has(pid) && hasOpen(pid, path));
}

function hasOpen(pid: number, path: string): boolean {
  const folder = `/proc/${pid}/fd`;
  const fds = attempt(() => readdirSync(folder)) ?? [];
  return fds.some((fd) => attempt(() => readlinkSync(`${folder}/${fd}`)) === path);
}

/*
 * QEMU's image locking: who has an image or device open shares the locks of bytes that say what he does with it, and
 * of others that say what he cannot bear beside him. They are advice, and hold between those who open the same node.
 */

/** "I write": who cannot bear a writer does not open it. */
const WRITES = 101;
/** "Nobody else may write": QEMU then refuses with `Failed to get "write" lock`. */
const BEARS_NO_WRITER = 201;

/**
 * Says to every QEMU that an open file is being written, by us alone, until its last descriptor is closed. False where
 * a QEMU has it open to write, or so that nobody may. Throws Error where it cannot be locked at all.
 */
export async function tryToKeepQemuOut(fd: number): Promise<boolean> {
  // Taken first and looked at then: of two who come at once, one at least sees the other.
  const isHeld = (await tryToShareByte(fd, WRITES)) && (await tryToShareByte(fd, BEARS_NO_WRITER));
  return isHeld && !(await isByteLocked(fd, WRITES)) && !(await isByteLocked(fd, BEARS_NO_WRITER));
}
