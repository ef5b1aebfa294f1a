import type { BlockDevice } from '../device/block-device.js';
import { Applier } from '../engine/applier.js';
import { readDurableLength } from '../engine/durable-length.js';
import { describeCause } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { findGap, refuseOtherDevice } from '../journal/journal-bond.js';
import {
  openLog,
  readJournal,
  type JournalContents,
  type ResumePlace,
  type SavedExtent,
} from '../journal/journal-reader.js';
import {
  forget,
  isSettled,
  noteUndoing,
  readNote,
  settleFinished,
  type ApplyNote,
  type Settled,
} from '../journal/journal.js';
import { OldBytes } from '../journal/old-bytes.js';
import { checkWrites } from '../journal/written-blocks.js';
import type { OpenTarget } from '../targets/open-target.js';
import { believe, type TargetState } from '../targets/state-record.js';

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
  /** Throws, before the first write, where what the target is taken back to is not what is wanted. */
  readonly check?: (state: TargetState | null) => void;
  /** What the target held before the apply, where that was found out just now. */
  readonly before?: TargetState | null;
}

const FORCED = 'an apply was taken back although someone wrote to it since';

/** Says what became of an earlier apply that had not ended. */
export function describeRecovery(path: string, outcome: RecoverOutcome): string {
  switch (outcome.kind) {
    case 'nothing to do':
      return `${path}: nothing to recover: ${outcome.stateDir} has no record of an interrupted apply to it (did it run with another --state-dir, or as another user?)`;
    case 'half copied':
      return `${path}: it holds part of an interrupted copy, which cannot be taken back: run "lvmsync copy" again`;
    case 'holds the result':
      return `${path}: the earlier apply was complete: it holds the result${outcome.problem === null ? '' : `; ${outcome.problem}`}`;
    case 'taken back':
      return `${path}: the earlier apply was incomplete: taken back to what it held before (${outcome.bytes} bytes)`;
  }
}

/** Who is told what is left, and may stop the work. */
export type WhoWaits = Pick<Surroundings, 'signal' | 'notice'>;

/**
 * Takes a target back to what it held before an apply that did not end, or finds that the apply was done. Does
 * nothing twice: a crash while it runs is recovered by running it again.
 *
 * Throws BaseMismatchError, before any write, where the journal is of another device, or someone wrote since: the
 * target's stamp moved, or a block is neither old nor new.
 * Throws UnsafeTargetError where someone else came to use it meanwhile: it can be run again once that has ended.
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
  const { evenIfChanged = false, check } = options;
  if (!evenIfChanged) await refuseOtherDevice(target, note);
  if (await isSettled(note)) {
    await record.forget();
    return { kind: 'holds the result', ...(await settleFinished(folder, note)) };
  }
  return await tellWhereStopped(target, about, async () => {
    const contents = await readJournal(note.log, await readDurableLength(folder), about.signal);
    if (contents.isFinished) {
      await record.forget();
      return { kind: 'holds the result', ...(await settleFinished(folder, note)) };
    }
    const state =
      options.before === undefined
        ? stateBefore(note, contents, evenIfChanged ? FORCED : await findGap(target, note))
        : stateBefore({ ...note, before: options.before }, contents, null);
    check?.(state);
    // Whatever happens now, what was recorded of the target's state is no longer known to be true.
    await record.forget();
    const bytes = await takeBack(target, contents, note, about.signal, options);
    await target.checkStillAlone();
    await forget(folder, note);
    if (state !== null) {
      await record.write(state).catch((error: unknown) => {
        const problem = `taken back, but that could not be recorded (${describeCause(error)})`;
        about.notice(`${target.device.path}: ${problem}: the next run checks its contents instead`);
      });
    }
    return { kind: 'taken back', bytes };
  });
}

/**
 * What a target holds that was taken back: what it held before the apply, if nobody else wrote to it since; of which a
 * journal without a record only has the name that the stream gave it.
 */
function stateBefore(
  { before }: ApplyNote,
  { header: { result } }: JournalContents,
  gap: string | null,
): TargetState | null {
  if (before !== null) return gap === null || before.is === 'copying' ? before : believe(before, gap);
  if (result === null) return null;
  return {
    ...{ is: 'exactly', identity: result, from: null },
    believed: 'nothing was known of the target before',
  };
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
      about.notice(`${device.path}: still half-written; run "${recoverWords}" to finish taking it back`);
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
    const advice = `to write the old bytes anyway: ${recoverWords} --force=base (they are in ${note.log})`;
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
