import type { BlockDevice } from '../device/block-device.js';
import type { Surroundings } from '../host/surroundings.js';
import { Applier } from './applier.js';
import { readDurableLength } from './durable-length.js';
import {
  forget,
  isSettled,
  noteUndoing,
  readNote,
  settleFinished,
  type ApplyNote,
  type Settled,
} from './journal.js';
import {
  openLog,
  readJournal,
  type JournalContents,
  type ResumePlace,
  type SavedExtent,
} from './journal-reader.js';
import { OldBytes } from './old-bytes.js';
import type { OpenTarget } from './open-target.js';
import { checkWrites } from './written-blocks.js';

/** What recovering found and did. */
export type RecoverOutcome =
  | { readonly kind: 'nothing to do'; readonly stateDir: string }
  /** A full copy to it was cut short, which nothing takes back. */
  | { readonly kind: 'half copied' }
  /** The apply was done: the target holds its result. */
  | ({ readonly kind: 'holds the result' } & Settled)
  /** The target was taken back to what it held before the apply. Bytes. */
  | { readonly kind: 'taken back'; readonly bytes: number };

export interface RecoverOptions {
  /** Write the old bytes back also where someone else wrote since. */
  readonly evenIfChanged?: boolean;
}

/** Says what became of an earlier apply that had not ended. */
export function describeRecovery(path: string, outcome: RecoverOutcome): string {
  switch (outcome.kind) {
    case 'nothing to do':
      return `${path}: nothing to recover: ${outcome.stateDir} knows of no apply to it that was cut short (another --state-dir, or another user's?)`;
    case 'half copied':
      return `${path}: it holds a part of a copy that was cut short: run "lvmsync copy" again; nothing takes that back`;
    case 'holds the result':
      return `${path}: the earlier apply was done to its end: it holds the result${outcome.problem === null ? '' : `; ${outcome.problem}`}`;
    case 'taken back':
      return `${path}: the earlier apply had not ended: taken back to what it held before (${outcome.bytes} bytes)`;
  }
}

/** Who is told what is left, and may stop the work. */
export type WhoWaits = Pick<Surroundings, 'signal' | 'notice'>;

/**
 * Takes a target back to what it held before an apply that did not end, or finds that the apply was done. Does
 * nothing twice: a crash while it runs is recovered by running it again.
 *
 * Throws BaseMismatchError, before any write, where a block is neither old nor new: someone wrote since.
 * Throws LostJournalError where the journal is gone or damaged, DeviceError, the signal's reason: a notice then says
 * what is left.
 */
export async function recoverTarget(
  target: OpenTarget,
  about: WhoWaits,
  options: RecoverOptions = {},
): Promise<RecoverOutcome> {
  const { folder, record, stateDir } = target;
  const note = await readNote(folder);
  if (note === null) {
    const isHalf = (await record.read()).holds?.is === 'copying';
    return isHalf ? { kind: 'half copied' } : { kind: 'nothing to do', stateDir };
  }
  // Whatever happens now, what was recorded of the target's state is no longer known to be true.
  await record.forget();
  if (await isSettled(note)) return { kind: 'holds the result', ...(await settleFinished(folder, note)) };
  return await tellWhereStopped(target, about, async () => {
    const contents = await readJournal(note.log, await readDurableLength(folder), about.signal);
    if (contents.isFinished) return { kind: 'holds the result', ...(await settleFinished(folder, note)) };
    const bytes = await takeBack(target, contents, note, about.signal, options);
    await forget(folder, note);
    return { kind: 'taken back', bytes };
  });
}

/**
 * Takes a target back to a place of its journal, where an apply can be taken up again; before it the target must
 * hold all that was written. Returns the bytes that were written back. Throws as `recoverTarget`.
 */
export async function takeBackTo(
  place: ResumePlace,
  target: OpenTarget,
  contents: JournalContents,
  note: ApplyNote,
  signal: AbortSignal,
): Promise<number> {
  const saved = contents.saved.slice(place.savedCount);
  const writes = contents.writes.slice(place.writeCount);
  return await takeBack(target, { ...contents, saved, writes }, note, signal, {});
}

/** Where the signal ends the work, says what is left of it, and what to do. */
export async function tellWhereStopped<T>(
  { device, recoverWords }: OpenTarget,
  about: WhoWaits,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (about.signal.aborted)
      about.notice(`${device.path}: still half-written; "${recoverWords}" goes on with taking it back`);
    throw error;
  }
}

async function takeBack(
  { device, folder, recoverWords }: OpenTarget,
  contents: JournalContents,
  note: ApplyNote,
  signal: AbortSignal,
  { evenIfChanged = false }: RecoverOptions,
): Promise<number> {
  const { saved, writes } = contents;
  const file = await openLog(note.log);
  try {
    const old = new OldBytes(file, note.log, saved);
    // What an earlier attempt wrote back a crash may have torn, whatever was flushed before.
    const mayBeTorn = note.isUndoing ? writes.map((write) => ({ ...write, isFlushed: false })) : writes;
    const advice = `to write the old bytes all the same: ${recoverWords} --force=base (they are in ${note.log})`;
    if (!evenIfChanged) await checkWrites(device, mayBeTorn, old, advice, signal);
    await noteUndoing(folder);
    return await writeOld(device, saved, old, signal);
  } finally {
    await file.close();
  }
}

async function writeOld(
  target: BlockDevice,
  saved: readonly SavedExtent[],
  old: OldBytes,
  signal: AbortSignal,
): Promise<number> {
  const applier = new Applier(target);
  let bytes = 0;
  try {
    for (const extent of saved) {
      signal.throwIfAborted();
      const { offset, length } = extent;
      if (extent.position === null) await applier.apply({ kind: 'zero', offset, length });
      else {
        const data = { bytes: await old.read(extent), release: () => undefined };
        await applier.apply({ kind: 'data', offset, length, data });
      }
      bytes += length;
    }
    await applier.finish();
    return bytes;
  } catch (error) {
    await applier.abandon();
    await target.flush().catch(() => undefined);
    throw error;
  }
}
