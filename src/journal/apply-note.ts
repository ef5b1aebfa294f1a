import { basename, join, resolve } from 'node:path';
import * as v from 'valibot';
import { LostJournalError } from '../errors.js';
import { isThere, markDurably, readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';
import { stateSchema } from '../targets/record-format.js';
import { identitySchema } from '../usage/device-identity.js';

/*
 * What the target's folder says about an unfinished apply, for everyone who finds one: in the note, and by a mark file
 * beside it. The log itself, with the old bytes, is the journal's.
 */

const noteSchema = v.object({
  /**
   * The path of the undo log. In the note's file, only its name if it is in the same folder, because the folder may be
   * moved.
   */
  log: v.string(),
  /** The path that the log gets when the apply is complete; null: it is removed then. */
  snapback: v.nullable(v.string()),
  /** What the target was known to hold before the apply. */
  before: v.nullish(stateSchema, null),
  /** The identity of the target: the journal is not valid for another device at the same path. */
  device: v.exactOptional(identitySchema),
  /** The target's write stamp, if the apply failed in order and everything that it wrote is on stable storage. */
  stamp: v.exactOptional(v.string()),
  /** The same, with the run of the sender. */
  left: v.optional(v.object({ stamp: v.string(), run: v.string() })),
});

/** What the target's folder says about an unfinished apply. */
export interface ApplyNote extends v.InferOutput<typeof noteSchema> {
  /** Whether it is being taken back, or may be. Then any of its blocks may be torn, flushed or not. */
  readonly isUndoing: boolean;
}

/** The note of an unfinished apply, or null. Throws LostJournalError if it cannot be read, DeviceError. */
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

/** Writes the note of an apply that is not being taken back. Throws DeviceError. */
export async function writeNote(folder: string, note: ApplyNote): Promise<void> {
  await markDurably(onlyForwardPath(folder));
  const log = note.snapback === null ? basename(note.log) : note.log;
  const words: v.InferInput<typeof noteSchema> & { isUndoing?: undefined } = {
    ...note,
    log,
    // only the mark file says this
    isUndoing: undefined,
  };
  await writeDurably(notePath(folder), JSON.stringify(words));
}

/**
 * Notes durably that an apply is being taken back. It removes a file, because nothing can be written if the journal has
 * filled its file system. Throws DeviceError.
 */
export async function noteUndoing(folder: string): Promise<void> {
  await removeDurably(onlyForwardPath(folder));
}

/** The note while the target is written: without a stamp, because every write changes it. */
export function whileWriting({ log, snapback, before, device }: ApplyNote): ApplyNote {
  return { log, snapback, before, isUndoing: false, ...(device === undefined ? {} : { device }) };
}

/** A mark file that exists until a recover begins to take the apply back. */
export function onlyForwardPath(folder: string): string {
  return join(folder, 'apply.forward');
}

export function notePath(folder: string): string {
  return join(folder, 'apply.json');
}
