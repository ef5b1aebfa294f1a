import { access, statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import * as v from 'valibot';
import { lengthPath } from '../engine/durable-length.js';
import { UndoLog, unfinishedSnapback, type ReadLog } from '../engine/undo-log.js';
import { DeviceError, describeCause, LostJournalError, UnsafeTargetError, UsageError } from '../errors.js';
import {
  describeRefusal,
  giveName,
  markDurably,
  readIfThere,
  removeDurably,
  writeDurably,
} from '../host/durable-file.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { stateSchema, type TargetState } from '../targets/state-record.js';
import { identitySchema, type DeviceIdentity } from '../usage/device-identity.js';
import { isUnused } from './journal-reader.js';

/** Frames, headers and the file system's own needs, on top of the old bytes. */
const ROOM_MARGIN = 1.03;
const ROOM_LEAST = 4 * 1024 * 1024;

const noteSchema = v.object({
  /** Where the undo log lies; in the file, of one beside it only the name: the folder may be moved. */
  log: v.string(),
  /** The name that it gets when the apply is done, null where it is then removed. */
  snapback: v.nullable(v.string()),
  /** What the target was known to hold before. */
  before: v.nullish(stateSchema, null),
  /** What the target is: the journal is of no other device, whatever has its path. */
  device: v.exactOptional(identitySchema),
  /** Of an apply that ended in order, with all that it wrote on stable storage: the target's write stamp. */
  stamp: v.exactOptional(v.string()),
  /** The same, and the run of a sender that it belonged to. */
  left: v.optional(v.object({ stamp: v.string(), run: v.string() })),
});

/** What the target's folder says of an apply that has not ended. */
export interface ApplyNote extends v.InferOutput<typeof noteSchema> {
  /** Whether it is being taken back, or may be: any of its blocks may be torn by now, flushed or not. */
  readonly isUndoing: boolean;
}

/**
 * The undo log of the apply that is under way, and the note of where it lies. The note is there before the first
 * write and goes after the last, so whoever finds it finds what takes the target back.
 */
export class Journal {
  private constructor(
    private readonly folder: string,
    readonly log: UndoLog,
    private readonly note: ApplyNote,
    private readonly isContinued: boolean,
  ) {}

  /**
   * Begins a journal in the target's folder, or beside the later `snapback`. Throws UsageError where the snapback
   * or an unfinished one exists, UnsafeTargetError where there is no room for it, DeviceError.
   *
   * @param before what the target is known to hold
   * @param device what the target is
   */
  static async begin(
    folder: string,
    header: StreamHeader,
    snapback: string | null,
    before: TargetState | null = null,
    device: DeviceIdentity | null = null,
  ): Promise<Journal> {
    const final = snapback === null ? null : resolve(snapback);
    if (final !== null) await refuseExisting(final);
    const path = final === null ? journalPath(folder) : `${final}.partial`;
    await checkJournalRoom(path, header.expectedBytes);
    // Without a note it is of an apply that never wrote.
    if (final === null || (await isUnused(path, header))) await removeDurably(path);
    const log = await UndoLog.create(path, lengthPath(folder), header, final !== null);
    const note = {
      log: path,
      snapback: final,
      before,
      isUndoing: false,
      ...(device === null ? {} : { device }),
    };
    try {
      await writeNote(folder, note);
    } catch (error) {
      await log.close();
      await forget(folder, note).catch(() => undefined);
      throw error;
    }
    return new Journal(folder, log, note, false);
  }

  /** Goes on with the journal of an apply that did not end, at a place in its log. Throws DeviceError. */
  static async continue(folder: string, left: ApplyNote, read: ReadLog): Promise<Journal> {
    const { log, snapback } = left;
    const { place } = read;
    // Only what is to be kept has an index.
    const written = snapback === null ? { ...place.written, index: null } : place.written;
    const continued = await UndoLog.continue(log, lengthPath(folder), {
      ...read,
      place: { ...place, written },
    });
    const note = whileWriting(left);
    try {
      await writeNote(folder, note);
    } catch (error) {
      await continued.close();
      throw error;
    }
    return new Journal(folder, continued, note, true);
  }

  /** What the target was known to hold before the apply. */
  get before(): TargetState | null {
    return this.note.before;
  }

  /**
   * Once the target is flushed: ends the log, with which the apply is done; then gives it its name, or removes it. Throws
   * DeviceError where it cannot be ended; what is not as it should be after that is returned, a sentence, or null.
   *
   * @param isNameless whether the target did not, after all, hold the state that the log names
   */
  async commit(isNameless = false): Promise<string | null> {
    await this.log.end(isNameless);
    try {
      await this.log.close();
      return (await settleFinished(this.folder, this.note)).problem;
    } catch (error) {
      return `${describeCause(error)}: the next run or "lvmsync recover" will clean up the journal`;
    }
  }

  /**
   * Leaves an apply that failed; true where something is left to recover.
   *
   * @param hasWritten whether the apply began to write to the target; what it saved before that is of no use
   * @param stamp the target's write stamp, where all that was written is on stable storage
   * @param run of a sender, whose next receiver may count on it
   */
  async abandon(hasWritten: boolean, stamp: string | null, run: string | null): Promise<boolean> {
    await this.log.close();
    if (!hasWritten && !this.isContinued) {
      await forget(this.folder, this.note);
      return false;
    }
    if (stamp !== null) {
      const note: ApplyNote = { ...this.note, stamp, ...(run === null ? {} : { left: { stamp, run } }) };
      // Without it the next receiver looks for itself; the file system may be full.
      await writeNote(this.folder, note).catch(() => undefined);
    }
    return true;
  }
}

/** The note of an apply that has not ended, or null. Throws LostJournalError where it cannot be read, DeviceError. */
export async function readNote(folder: string): Promise<ApplyNote | null> {
  const path = notePath(folder);
  const text = await readIfThere(path);
  if (text === null) return null;
  try {
    const note = v.parse(noteSchema, JSON.parse(text));
    const isUndoing = !(await isThere(onlyForwardPath(folder)));
    return { ...note, log: resolve(folder, note.log), isUndoing };
  } catch {
    throw new LostJournalError(path, 0, 'it does not say where the journal is');
  }
}

/** Of an apply that is not being taken back. Throws DeviceError. */
async function writeNote(folder: string, note: ApplyNote): Promise<void> {
  await markDurably(onlyForwardPath(folder));
  const log = note.snapback === null ? basename(note.log) : note.log;
  const words: v.InferInput<typeof noteSchema> & { isUndoing?: undefined } = {
    ...note,
    log,
    // told by the mark alone
    isUndoing: undefined,
  };
  await writeDurably(notePath(folder), JSON.stringify(words));
}

/**
 * Notes, for good, that an apply is being taken back. It removes a file, as nothing can be written where the journal
 * has filled its file system. Throws DeviceError.
 */
export async function noteUndoing(folder: string): Promise<void> {
  await removeDurably(onlyForwardPath(folder));
}

/** What a note says while the target is written: no stamp is one of what it will hold. */
function whileWriting({ log, snapback, before, device }: ApplyNote): ApplyNote {
  return { log, snapback, before, isUndoing: false, ...(device === undefined ? {} : { device }) };
}

/** Where the snapback of an apply lies that was done, null where there is none; what there is to say of it, or null. */
export interface Settled {
  readonly snapback: string | null;
  readonly problem: string | null;
}

/**
 * After an apply that was done: the log becomes the snapback, or goes; then the note goes. Where the snapback cannot
 * have its name, another file's perhaps, it keeps the one that it has: the target is none the worse for it.
 */
export async function settleFinished(folder: string, note: ApplyNote): Promise<Settled> {
  const { log, snapback } = note;
  if (snapback === null) {
    await forget(folder, note);
    return { snapback, problem: null };
  }
  const refusal = (await isThere(log)) ? await nameSnapback(log, snapback) : null;
  await removeDurably(notePath(folder));
  await removeBesideLog(folder);
  if (refusal === null) return { snapback, problem: null };
  return {
    snapback: log,
    problem: `its snapback is complete, but is still called ${log} (${refusal}): rename it`,
  };
}

/** What kept a snapback from getting its name, or null. */
async function nameSnapback(log: string, snapback: string): Promise<string | null> {
  return await giveName(log, snapback).then(
    () => null,
    (error: unknown) => describeCause(error),
  );
}

/**
 * Drops a log of which nothing is needed any more. The note goes first: a log without a note does no harm, a note
 * without its log says that the way back is lost.
 */
export async function forget(folder: string, note: ApplyNote): Promise<void> {
  await removeDurably(notePath(folder));
  await removeDurably(note.log);
  await removeBesideLog(folder);
}

/** Drops the note of an apply that nothing takes back any more, and its journal; a snapback is left where it is. */
export async function dropLost(folder: string): Promise<void> {
  await removeDurably(notePath(folder));
  await removeDurably(journalPath(folder));
  await removeBesideLog(folder);
}

async function removeBesideLog(folder: string): Promise<void> {
  await removeDurably(lengthPath(folder));
  await removeDurably(onlyForwardPath(folder));
}

/**
 * Whether an apply was done and its log renamed already, when a crash came before the note went. Throws
 * LostJournalError where the log is nowhere.
 */
export async function isSettled(note: ApplyNote): Promise<boolean> {
  if (await isThere(note.log)) return false;
  if (note.snapback !== null && (await isThere(note.snapback))) return true;
  const where = note.snapback === null ? '' : ', or its file system is not mounted: mount it, and try again';
  throw new LostJournalError(note.log, 0, `it is gone${where}`);
}

/** Throws UnsafeTargetError where the file system of a journal lacks the room for `bytes` of old bytes. */
export async function checkJournalRoom(path: string, bytes: number): Promise<void> {
  const folder = dirname(path);
  const needed = Math.ceil(bytes * ROOM_MARGIN) + ROOM_LEAST;
  const { bavail, bsize } = await statfs(folder).catch((error: unknown) => {
    throw new DeviceError(folder, 'stat', null, describeRefusal(error));
  });
  const free = bavail * bsize;
  if (free >= needed) return;
  throw new UnsafeTargetError(
    path,
    `not enough space for the journal: it may need ${needed} bytes, and ${free} are free; ` +
      'choose another place with --state-dir (or --snapback), or do without a way back (--no-journal)',
  );
}

function journalPath(folder: string): string {
  return join(folder, 'journal');
}

/** There as long as nobody has begun to take the apply back. */
function onlyForwardPath(folder: string): string {
  return join(folder, 'apply.forward');
}

function notePath(folder: string): string {
  return join(folder, 'apply.json');
}

/**
 * What beginning a journal would find of its snapback's names, once an unfinished apply to the same target was seen to.
 * Throws UsageError.
 */
export async function checkSnapbackName(folder: string, snapback: string): Promise<void> {
  const final = resolve(snapback);
  await refuseExisting(final);
  const partial = `${final}.partial`;
  if ((await isThere(partial)) && (await readNote(folder))?.log !== partial)
    throw unfinishedSnapback(partial);
}

async function refuseExisting(path: string): Promise<void> {
  if (await isThere(path))
    throw new UsageError(`${path}: it already exists; a snapback never overwrites a file`);
}

/** Whether there is a file of this name. */
export async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
