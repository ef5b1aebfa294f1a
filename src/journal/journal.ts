import { statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { lengthPath } from '../engine/durable-length.js';
import { UndoLog, unfinishedSnapback, type ReadLog } from '../engine/undo-log.js';
import { DeviceError, describeCause, LostJournalError, UnsafeTargetError, UsageError } from '../errors.js';
import { describeRefusal, giveName, isThere, removeDurably } from '../host/durable-file.js';
import type { StreamHeader } from '../stream/stream-header.js';
import type { TargetState } from '../targets/state-record.js';
import type { DeviceIdentity } from '../usage/device-identity.js';
import {
  notePath,
  onlyForwardPath,
  readNote,
  whileWriting,
  writeNote,
  type ApplyNote,
} from './apply-note.js';
import { isUnused } from './journal-reader.js';

/** Allows for frames, headers and file system metadata in addition to the old bytes. */
const ROOM_MARGIN = 1.03;
const ROOM_LEAST = 4 * 1024 * 1024;

/** A target as it is found before the first write. */
export interface JournaledTarget {
  /** What it is known to hold. */
  readonly before: TargetState | null;
  readonly device: DeviceIdentity | null;
}

/**
 * The undo log of the running apply, and the note that says where it is. The note is written before the first write to
 * the target and removed after the last, so a run that finds the note can take the target back.
 */
export class Journal {
  private constructor(
    private readonly folder: string,
    readonly log: UndoLog,
    private readonly note: ApplyNote,
    private readonly isContinued: boolean,
  ) {}

  /**
   * Begins a journal in the target's folder, or beside the future `snapback`. Throws UsageError if the snapback or an
   * unfinished one exists, UnsafeTargetError if there is not enough space, DeviceError.
   *
   * @param header of the undo
   */
  static async begin(
    folder: string,
    header: StreamHeader,
    snapback: string | null,
    { before, device }: JournaledTarget = { before: null, device: null },
  ): Promise<Journal> {
    const final = snapback === null ? null : resolve(snapback);
    if (final !== null) await refuseExisting(final);
    const path = final === null ? journalPath(folder) : `${final}.partial`;
    await checkJournalRoom(path, header.expectedBytes);
    // A journal without a note is from an apply that wrote nothing.
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

  /** Continues the journal of an unfinished apply at a place in its log. Throws DeviceError. */
  static async continue(folder: string, left: ApplyNote, read: ReadLog): Promise<Journal> {
    const { log, snapback } = left;
    const { place } = read;
    // Only a log that is kept as a snapback has an index.
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
   * Ends the log, after the target was flushed: that completes the apply. Then gives the log its name, or removes it.
   * Throws DeviceError if the log cannot be ended. A later problem is returned in words; null: there was no problem.
   *
   * @param isNameless whether it turned out that the target did not hold the state that the log names
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
   * Ends the work on an apply that failed; true if there is something to recover.
   *
   * @param hasWritten whether the apply began to write to the target; if not, what it saved is useless
   * @param stamp the target's write stamp, if everything that was written is on stable storage
   * @param run the sender's run: its next receiver may rely on the stamp
   */
  async abandon(hasWritten: boolean, stamp: string | null, run: string | null): Promise<boolean> {
    await this.log.close();
    if (!hasWritten && !this.isContinued) {
      await forget(this.folder, this.note);
      return false;
    }
    if (stamp !== null) {
      const note: ApplyNote = { ...this.note, stamp, ...(run === null ? {} : { left: { stamp, run } }) };
      // The file system may be full. Without the stamp, the next receiver checks the target itself.
      await writeNote(this.folder, note).catch(() => undefined);
    }
    return true;
  }
}

/** The path of the snapback of a complete apply, or null; and a problem with it in words, or null. */
export interface Settled {
  readonly snapback: string | null;
  readonly problem: string | null;
}

/**
 * Finishes a complete apply: renames the log to the snapback, or removes it, and then removes the note. If the name of
 * the snapback cannot be used, for example because another file has it, the snapback keeps its temporary name: the
 * target is right all the same.
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

/** Why a snapback could not be renamed, or null. */
async function nameSnapback(log: string, snapback: string): Promise<string | null> {
  return await giveName(log, snapback).then(
    () => null,
    (error: unknown) => describeCause(error),
  );
}

/**
 * Removes a log that is no longer needed. The note goes first: a log without a note does no harm, but a note without
 * its log means that the journal is lost.
 */
export async function forget(folder: string, note: ApplyNote): Promise<void> {
  await removeDurably(notePath(folder));
  await removeDurably(note.log);
  await removeBesideLog(folder);
}

/** Removes the note and the journal of an apply that can no longer be taken back. A snapback stays. */
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
 * Whether an apply is complete and its log already renamed, because a crash came before the note was removed. Throws
 * LostJournalError if the log cannot be found.
 */
export async function isSettled(note: ApplyNote): Promise<boolean> {
  if (await isThere(note.log)) return false;
  if (note.snapback !== null && (await isThere(note.snapback))) return true;
  const where = note.snapback === null ? '' : ', or its file system is not mounted: mount it, and try again';
  throw new LostJournalError(note.log, 0, `it is gone${where}`);
}

/** Throws UnsafeTargetError if the file system of a journal does not have enough space for `bytes` of old bytes. */
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

/**
 * Makes the checks of a snapback's names that `begin` would make after an unfinished apply was taken back or continued.
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
    throw new UsageError(`${path}: it already exists; a snapback never overwrites a file: give another name`);
}
