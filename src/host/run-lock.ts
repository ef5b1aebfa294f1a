import { constants } from 'node:fs';
import { access, open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeviceError, isErrno, LockedError } from '../errors.js';
import { readIfThere, removeDurably, writeDurably, makePrivateFolder } from './durable-file.js';
import { isFileLocked } from './file-locks.js';
import { tryToLock, type LockKind } from './system-calls.js';

/** How often a receiver checks whether it must give way. Milliseconds. */
const LOOK_EVERY_MS = 500;

/**
 * A sender whose line broke starts again. The receiver of the old line may not have noticed yet and still holds the
 * target. So the new receiver writes the name of the run to a file beside the lock, and the old receiver gives way at
 * the next frame. No process is signalled, so it works without the permission to do that.
 */
export async function askToGiveWay(folder: string, run: string): Promise<void> {
  await writeDurably(pathIn(folder), run);
}

/** The new receiver holds the target: no receiver has to give way any more. Throws DeviceError. */
export async function forgetAsking(folder: string): Promise<void> {
  await removeDurably(pathIn(folder));
}

/** Calls `giveWay` when another receiver of the same run wants the target. Returns what ends the watch. */
export function watchForSuccessor(folder: string, run: string, giveWay: () => void): () => void {
  const timer = setInterval(() => {
    readIfThere(pathIn(folder)).then(
      (wanted) => {
        if (wanted === run) giveWay();
      },
      // The next look may succeed.
      () => undefined,
    );
  }, LOOK_EVERY_MS);
  return () => {
    clearInterval(timer);
  };
}

function pathIn(folder: string): string {
  return `${folder}/successor`;
}

/** How long a receiver of the same run may take to notice that it must give way, and to end. Milliseconds. */
const GIVING_WAY_MS = 45_000;
const TRY_EVERY_MS = 100;

/** The most that a holder writes to a lock file. Bytes. */
const MOST_WORDS = 4096;
/** How long a lock may outlive its holder: a command that the holder just started has its files open for a moment. */
const PATIENCE_MS = 2000;
const PAUSE_MS = 25;

const NO_ROOM = ['ENOSPC', 'EDQUOT'];

/** The holder of a lock that is not signed yet, in words. */
const JUST_BEGUN = 'another lvmsync that has just started';

/** The run that holds a lock, for the message to a second run. */
export interface LockHolder {
  /** What it does, such as `receive /dev/vg/vm`. */
  readonly what: string;
  readonly pid: number;
  readonly startedAt: Date;
  /** The run of a sender that it belongs to, if any. */
  readonly run?: string | null;
}

/** A lock that only one lvmsync has at a time. It ends with `release` or with the process. */
export interface RunLock {
  release(): Promise<void>;
}

/** Locks a state folder by the file `lock` in it. Makes both if they are missing. Throws as `lockFile`. */
export async function lockFolder(stateFolder: string, subject: string, holder: LockHolder): Promise<RunLock> {
  const path = `${stateFolder}/lock`;
  await makePrivateFolder(stateFolder);
  return await lockFile(path, subject, holder);
}

/**
 * Takes a lock by a file, and makes the file if it is missing. The file is never removed: otherwise two runs could lock
 * two files of the same name. Asks a receiver of the same run of a sender to give way, and waits for it.
 *
 * @param subject what is locked, in words, for the message to a second run
 * @param nameless the holder, in words, if the file names no holder
 *
 * Throws LockedError if another run holds the lock, DeviceError if the folder or its file system does not allow it.
 */
export async function lockFile(
  path: string,
  subject: string,
  holder: LockHolder,
  nameless = JUST_BEGUN,
): Promise<RunLock> {
  const file = await attempt(path, 'open', () => openLockFile(path));
  try {
    const lock = () => attempt(path, 'lock', () => lockUnlessHeld(file, 'exclusive'));
    if (!(await lock()) && !(await succeed(dirname(path), file, holder.run ?? null, lock))) {
      throw lockedBy(subject, (await readHolder(file)).words || nameless, path);
    }
    await attempt(path, 'write', () => sign(file, holder));
  } catch (error) {
    await file.close();
    throw error;
  }
  return {
    release: () =>
      attempt(path, 'close', async () => {
        try {
          await file.truncate(0);
        } finally {
          await file.close();
        }
      }),
  };
}

/**
 * Shares a lock of `lockFile` with other readers: meanwhile a run that wants it alone is refused. Readers are not named
 * in the file. Null: the file cannot be locked, as a reader may not be allowed to write to the folder.
 *
 * Throws LockedError if another run has the lock alone.
 */
export async function shareLockFile(path: string, subject: string): Promise<RunLock | null> {
  const file = await openLockFile(path).catch(() => null);
  if (file === null) return null;
  const isShared = await lockUnlessHeld(file, 'shared').catch(() => null);
  if (isShared === true) {
    // The name that a killed run left there would be taken for ours.
    await file.truncate(0).catch(() => undefined);
    return { release: () => attempt(path, 'close', () => file.close()) };
  }
  const holder = await readHolder(file).catch(() => NOBODY);
  await file.close();
  if (isShared === null) return null;
  throw lockedBy(subject, holder.words || JUST_BEGUN, path);
}

/** A lock of `lockFile`, as another process sees it. */
export interface SeenLock {
  readonly isHeld: boolean;
  /** The holder, or the run that held it when it was killed; empty: the file names no holder. */
  readonly words: string;
}

/** Looks at a lock of `lockFile` without taking it; null: it does not exist, or we have no permission to read it. */
export async function lookAtLock(path: string): Promise<SeenLock | null> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => null);
  if (file === null) return null;
  try {
    return { isHeld: isFileLocked((await file.stat()).ino), words: (await readHolder(file)).words };
  } finally {
    await file.close();
  }
}

function lockedBy(subject: string, holder: string, path: string): LockedError {
  return new LockedError(subject, holder, `wait until it ends (${path})`);
}

/** False if a live process holds it. */
async function lockUnlessHeld(file: FileHandle, kind: LockKind): Promise<boolean> {
  for (let waited = 0; !(await tryToLock(file.fd, kind)); waited += PAUSE_MS) {
    if (waited >= PATIENCE_MS || !(await isLeftBehind(file))) return false;
    await sleep(PAUSE_MS);
  }
  return true;
}

/** Whether the process that the lock names no longer exists. */
async function isLeftBehind(file: FileHandle): Promise<boolean> {
  const pid = /^process (\d+) /.exec((await readHolder(file)).words)?.[1];
  if (pid === undefined) return false;
  return await access(`/proc/${pid}`).then(
    () => false,
    () => true,
  );
}

/** Takes the lock over from a receiver of the same run; false if another run holds it, or it is not given up. */
async function succeed(
  folder: string,
  file: FileHandle,
  run: string | null,
  lock: () => Promise<boolean>,
): Promise<boolean> {
  if (run === null || (await readHolder(file)).run !== run) return false;
  await askToGiveWay(folder, run);
  try {
    for (let waited = 0; waited < GIVING_WAY_MS; waited += TRY_EVERY_MS) {
      if (await lock()) return true;
      await sleep(TRY_EVERY_MS);
    }
    return false;
  } finally {
    await forgetAsking(folder);
  }
}

async function openLockFile(path: string): Promise<FileHandle> {
  // Never through a link: the file that it points to would be truncated.
  return await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
}

/** Names the holder in the lock's file. A full file system does not end the lock: a recover must need no free space. */
async function sign(file: FileHandle, { what, pid, startedAt, run = null }: LockHolder): Promise<void> {
  const words = `process ${pid} (${what.replace(/\s+/g, ' ')}), since ${startedAt.toISOString()}\n`;
  await file.truncate(0);
  await file.write(`${words}${run ?? ''}`, 0).catch(async (error: unknown) => {
    if (!NO_ROOM.some((code) => isErrno(error, code))) throw error;
    // Half a name would mislead.
    await file.truncate(0);
  });
}

/** What a lock's file says about its holder. */
interface SignedHolder {
  /** For the message to a second run. Empty: no holder is named, also between taking the lock and signing it. */
  readonly words: string;
  /** Never shown: a process that knows it can ask the holder to give way. */
  readonly run: string | null;
}

const NOBODY: SignedHolder = { words: '', run: null };

async function readHolder(file: FileHandle): Promise<SignedHolder> {
  const bytes = Buffer.alloc(MOST_WORDS);
  const { bytesRead } = await file.read(bytes, 0, MOST_WORDS, 0);
  const [words = '', ...rest] = bytes.toString('utf8', 0, bytesRead).split('\n');
  return { words, run: rest.join('\n') || null };
}

async function attempt<T>(
  path: string,
  operation: 'open' | 'lock' | 'write' | 'close',
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new DeviceError(path, operation, null, error);
  }
}
