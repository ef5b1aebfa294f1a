import { readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { isByteLocked, tryToShareByte } from './system-calls.js';

/** How many characters of a command line a message shows. */
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

/** Undefined for a process of another user, and for a process that ends while we look. */
export function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** A lock that a process waits for, and the processes that hold it. */
export interface LockWait {
  /** The lock's file; null: not visible. */
  readonly path: string | null;
  /** The processes that hold it, in words such as `process 12 (lvcreate …)`; empty: no holder is visible. */
  readonly holders: readonly string[];
}

/** A line of /proc/locks. */
interface LockLine {
  /** `MAJOR:MINOR:INODE`. */
  readonly file: string;
  readonly pid: number;
  readonly isWaiting: boolean;
}

/** How far to follow a chain of processes that wait for each other. */
const LONGEST_CHAIN = 8;

/**
 * The file lock that a process waits for; null: it waits for no visible lock. Follows a chain of waiting processes to
 * its last lock, because LVM's readers queue up behind a writer that waits itself.
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

/** Whether a process of this namespace has a lock on the file with this inode. Takes no lock itself. */
export function isFileLocked(inode: number): boolean {
  const lines = parseLocks(attempt(() => readFileSync('/proc/locks', 'latin1')) ?? '');
  return lines.some((each) => !each.isWaiting && Number(each.file.split(':')[2]) === inode);
}

/** Parses /proc/locks: https://docs.kernel.org/filesystems/proc.html, "/proc/locks". */
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

/** The path of the lock's file, from the waiting process's open files. */
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

/** A lock outlives the process that took it while another process, its child or a shell, has the same file open. */
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
 * QEMU's image locking. A process that has an image or device open holds shared locks on bytes that say what it does
 * with it, and on bytes that say what it does not allow others to do. The locks are advisory, and are per inode: they
 * work between processes that open the same device node or file.
 */

/** "I write": a process that does not allow writers does not open it. */
const WRITES = 101;
/** "No one else may write": QEMU then refuses with `Failed to get "write" lock`. */
const BEARS_NO_WRITER = 201;

/**
 * Tells every QEMU that we alone write this open file, until its last descriptor is closed. False if a QEMU has it open
 * for writing, or allows no writers. Throws Error if the file cannot be locked at all.
 */
export async function tryToKeepQemuOut(fd: number): Promise<boolean> {
  // Lock first, then look: of two processes that start together, at least one sees the other.
  const isHeld = (await tryToShareByte(fd, WRITES)) && (await tryToShareByte(fd, BEARS_NO_WRITER));
  return isHeld && !(await isByteLocked(fd, WRITES)) && !(await isByteLocked(fd, BEARS_NO_WRITER));
}
