import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import type { LibraryHandle } from 'koffi';

/** flock(2): shared or exclusive, without waiting. */
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
/** fcntl(2), on Linux. */
const F_SETPIPE_SZ = 1031;
/** The locks of an open file, not of a process: they last until its last descriptor is closed. */
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
/** fallocate(2): makes a hole, and keeps the file's length. */
const PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01;
/** lseek(2): to the next data or hole of a file from an offset on. */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** ioctl(2) of a block device: an offset and a length, as two unsigned 64-bit numbers. */
const BLKDISCARD = 0x1277;

/** semctl(2): which process changed a semaphore last. */
const GETPID = 11;

/** The system calls that Node has no function for. */
interface SystemCalls {
  readonly flock: (fd: number, operation: number) => number;
  readonly fallocate: (fd: number, mode: number, offset: number, length: number) => number;
  readonly ioctl: (fd: number, request: number, argument: BigUint64Array) => number;
  readonly fcntl: (fd: number, command: number, argument: number) => number;
  readonly lockByte: (fd: number, command: number, lock: ByteLock) => number;
  readonly semctl: (semid: number, index: number, command: number) => number;
  readonly lseek: (fd: number, offset: number, whence: number) => number;
  readonly exit: (status: number) => void;
  readonly errno: () => number;
}

/** The parts of fcntl(2)'s `struct flock` that we need, which it reads and writes. */
interface ByteLock {
  type: number;
  readonly start: number;
}

let calls: Promise<SystemCalls> | undefined;

/** A lock that one process holds, or one that many share while no process has it exclusively. */
export type LockKind = 'exclusive' | 'shared';

/**
 * Takes the lock of an open file. It lasts until the file's last descriptor is closed, or its process ends. False if
 * another process holds it. Throws Error with the errno's name if the file cannot be locked at all.
 */
export async function tryToLock(fd: number, kind: LockKind): Promise<boolean> {
  const { flock, errno } = await (calls ??= loadSystemCalls());
  const operation = kind === 'exclusive' ? LOCK_EX : LOCK_SH;
  if (flock(fd, operation | LOCK_NB) === 0) return true;
  const number = errno();
  if (number === constants.errno.EWOULDBLOCK) return false;
  throw systemError(number, 'flock');
}

/**
 * Takes a shared lock of one byte of an open file, which lasts as long as one of `tryToLock`. The byte may be past the
 * file's end. False if another process has it exclusively. Throws Error as `tryToLock`.
 */
export async function tryToShareByte(fd: number, byte: number): Promise<boolean> {
  const { lockByte, errno } = await (calls ??= loadSystemCalls());
  if (lockByte(fd, F_OFD_SETLK, { type: F_RDLCK, start: byte }) === 0) return true;
  const number = errno();
  if (number === constants.errno.EAGAIN || number === constants.errno.EACCES) return false;
  throw systemError(number, 'fcntl');
}

/** Whether another process has a lock of a byte, of any kind. Throws Error as `tryToLock`. */
export async function isByteLocked(fd: number, byte: number): Promise<boolean> {
  const { lockByte, errno } = await (calls ??= loadSystemCalls());
  const lock = { type: F_WRLCK, start: byte };
  if (lockByte(fd, F_OFD_GETLK, lock) !== 0) throw systemError(errno(), 'fcntl');
  return lock.type !== F_UNLCK;
}

/**
 * Makes a hole in an open file or block device, which then reads as zeroes there. False if the kernel has no way to
 * guarantee that. Bytes; of a block device, whole sectors.
 */
export async function punchHole(fd: number, offset: number, length: number): Promise<boolean> {
  const { fallocate } = await (calls ??= loadSystemCalls());
  return fallocate(fd, PUNCH_HOLE_KEEP_SIZE, offset, length) === 0;
}

/** Discards a range of an open block device. False if the device does not support that. */
export async function discardBlocks(fd: number, offset: number, length: number): Promise<boolean> {
  const { ioctl } = await (calls ??= loadSystemCalls());
  return ioctl(fd, BLKDISCARD, BigUint64Array.of(BigInt(offset), BigInt(length))) === 0;
}

/**
 * The next range with data in an open file, from an offset on; null: there is no more data. A range that the kernel
 * says nothing about counts as data. Bytes.
 */
export async function findData(
  fd: number,
  offset: number,
  size: number,
): Promise<{ readonly from: number; readonly to: number } | null> {
  const { lseek, errno } = await (calls ??= loadSystemCalls());
  const from = lseek(fd, offset, SEEK_DATA);
  if (from < 0) return errno() === constants.errno.ENXIO ? null : { from: offset, to: size };
  const to = lseek(fd, from, SEEK_HOLE);
  return { from, to: to < 0 ? size : to };
}

/** Enlarges a pipe, as far as its user is allowed to. Throws if the system calls cannot be loaded. */
export async function growPipe(fd: number, bytes: number): Promise<void> {
  const { fcntl } = await (calls ??= loadSystemCalls());
  fcntl(fd, F_SETPIPE_SZ, bytes);
}

/** The process that last changed a set's first semaphore; null: not known. */
export async function lastToChange(semid: number): Promise<number | null> {
  const { semctl } = await (calls ??= loadSystemCalls());
  const pid = semctl(semid, 0, GETPID);
  return pid > 0 ? pid : null;
}

/** Ends this process at once, whatever its threads wait for: Node's own way waits for each of them. */
export async function endAtOnce(status: number): Promise<void> {
  const { exit } = await (calls ??= loadSystemCalls());
  exit(status);
}

function systemError(number: number, call: string): Error {
  const [name, meaning] = getSystemErrorMap().get(-number) ?? [`errno ${number}`, 'unknown'];
  return new Error(`${name}: ${meaning}, ${call}`);
}

/** Loads koffi only when a call is needed: it is native code, and most runs do not need it. */
async function loadSystemCalls(): Promise<SystemCalls> {
  const koffi = await import('koffi');
  // The symbols of this process: Node has already loaded the C library, whichever it is.
  const library = koffi.load(null);
  const flock = library.func('int flock(int fd, int operation)');
  const ioctl = library.func('int ioctl(int fd, unsigned long request, void *argument)');
  const fcntl = library.func('int fcntl(int fd, int command, ...)');
  const fallocate = find64(library, 'fallocate', '(int fd, int mode, int64_t offset, int64_t length)');
  const fcntl64 = find64(library, 'fcntl', '(int fd, int command, ...)');
  const semctl = library.func('int semctl(int semid, int index, int command, ...)');
  const exit = library.func('void _exit(int status)');
  const flockStruct = koffi.struct({
    ...{ type: 'short', whence: 'short', start: 'int64_t', length: 'int64_t', process: 'int' },
  });
  const lseek = find64(library, 'lseek', '(int fd, int64_t offset, int whence)', 'int64_t');
  return {
    flock: (fd, operation) => Number(flock(fd, operation)),
    fallocate: (fd, mode, offset, length) => Number(fallocate(fd, mode, offset, length)),
    ioctl: (fd, request, argument) => Number(ioctl(fd, request, argument)),
    fcntl: (fd, command, argument) => Number(fcntl(fd, command, 'int', argument)),
    lockByte: (fd, command, lock) => {
      const bytes = Buffer.alloc(koffi.sizeof(flockStruct));
      koffi.encode(bytes, flockStruct, { ...lock, whence: 0, length: 1, process: 0 });
      const result = Number(fcntl64(fd, command, 'void *', bytes));
      lock.type = (koffi.decode(bytes, flockStruct) as ByteLock).type;
      return result;
    },
    semctl: (semid, index, command) => Number(semctl(semid, index, command)),
    lseek: (fd, offset, whence) => Number(lseek(fd, offset, whence)),
    exit: (status) => void exit(status),
    errno: () => koffi.errno(),
  };
}

/** Prefers the name with 64-bit offsets on 32-bit systems. A C library without it (musl) always has 64-bit offsets. */
function find64(library: LibraryHandle, name: string, parameters: string, result = 'int') {
  try {
    return library.func(`${result} ${name}64${parameters}`);
  } catch {
    return library.func(`${result} ${name}${parameters}`);
  }
}
