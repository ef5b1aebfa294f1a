import type { BlockDevice } from '../device/block-device.js';
import { Applier } from '../engine/applier.js';
import { readDurableLength } from '../engine/durable-length.js';
import { BaseMismatchError, describeCause } from '../errors.js';
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

/** What a recover found and did. */
export type RecoverOutcome =
  | { readonly kind: 'nothing to do'; readonly stateDir: string }
  /** A full copy to it was interrupted, which cannot be taken back. */
  | { readonly kind: 'half copied' }
  /** An apply without a journal was interrupted. */
  | { readonly kind: 'half written' }
  /** The apply was complete: the target holds its result. */
  | ({ readonly kind: 'holds the result' } & Settled)
  /** The target was taken back to what it held before the apply. Bytes. */
  | { readonly kind: 'taken back'; readonly bytes: number };

export interface RecoverOptions {
  /** Write the old bytes back even if someone else wrote since. */
  readonly evenIfChanged?: boolean;
  /** Called before the first write with what the target will be taken back to. Throws to prevent that. */
  readonly check?: (state: TargetState | null) => void;
  /** What the target held before the apply, if that was just found out. */
  readonly before?: TargetState | null;
}

const FORCED = 'an apply was taken back although someone wrote to it since';

/** The outcome of an unfinished earlier apply, in words. */
export function describeRecovery(path: string, outcome: RecoverOutcome): string {
  switch (outcome.kind) {
    case 'nothing to do':
      return `${path}: nothing to recover: ${outcome.stateDir} has no record of an interrupted apply to it (did it run with another --state-dir, or as another user?)`;
    case 'half copied':
    case 'half written':
      return noWayBack(path, outcome.kind).message;
    case 'holds the result':
      return `${path}: the earlier apply was complete: it holds the result${outcome.problem === null ? '' : `; ${outcome.problem}`}`;
    case 'taken back':
      return `${path}: the earlier apply was incomplete: taken back to what it held before (${outcome.bytes} bytes)`;
  }
}

/** The error of a target that nothing can take back. */
export function noWayBack(path: string, kind: 'half copied' | 'half written'): BaseMismatchError {
  const problem =
    kind === 'half copied'
      ? 'it holds part of an interrupted copy, which cannot be taken back: run "lvmsync copy" again'
      : 'half-written by an apply without a journal, which cannot be taken back: run that transfer again, or "lvmsync --scan"';
  return new BaseMismatchError(path, null, problem);
}

/** Where to report what is left, and the signal that stops the work. */
export type WhoWaits = Pick<Surroundings, 'signal' | 'notice'>;

/**
 * Takes a target back to what it held before an unfinished apply, or finds that the apply was complete. Can be
 * repeated: after a crash, run it again.
 *
 * Throws BaseMismatchError, before any write, if the journal belongs to another device, or someone wrote since: the
 * target's stamp changed, or a block is neither old nor new. Throws UnsafeTargetError if someone else used the target
 * meanwhile: it can be run again once that has ended. Throws LostJournalError if the journal is missing or damaged,
 * DeviceError, the signal's reason: a notice then says what is left.
 */
export async function recoverTarget(
  target: OpenTarget,
  env: WhoWaits,
  options: RecoverOptions = {},
): Promise<RecoverOutcome> {
  const { folder, record, stateDir } = target;
  const note = await readNote(folder);
  if (note === null) {
    const { holds } = await record.read();
    if (holds?.is === 'copying') return { kind: 'half copied' };
    if (holds?.is === 'applying from') return { kind: 'half written' };
    return { kind: 'nothing to do', stateDir };
  }
  const { evenIfChanged = false, check } = options;
  if (!evenIfChanged) await refuseOtherDevice(target, note);
  if (await isSettled(note)) {
    await record.forget();
    return { kind: 'holds the result', ...(await settleFinished(folder, note)) };
  }
  return await tellWhereStopped(target, env, async () => {
    const contents = await readJournal(note.log, await readDurableLength(folder), env.signal);
    if (contents.isFinished) {
      await record.forget();
      return { kind: 'holds the result', ...(await settleFinished(folder, note)) };
    }
    const state =
      options.before === undefined
        ? stateBefore(note, contents, evenIfChanged ? FORCED : await findGap(target, note))
        : stateBefore({ ...note, before: options.before }, contents, null);
    check?.(state);
    // From here on, the recorded state of the target may be wrong.
    await record.forget();
    const bytes = await takeBack(target, contents, note, env.signal, options);
    await target.checkStillAlone();
    await forget(folder, note);
    if (state !== null) {
      await record.write(state).catch((error: unknown) => {
        const problem = `taken back, but that could not be recorded (${describeCause(error)})`;
        env.notice(`${target.device.path}: ${problem}: the next run checks its contents instead`);
      });
    }
    return { kind: 'taken back', bytes };
  });
}

/**
 * What a target holds after it was taken back: what it held before the apply, if no one else wrote to it since. If
 * nothing was recorded, only the journal's header names that state.
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
 * Takes a target back to a place of its journal, so that the apply can be resumed there. The target must hold
 * everything that was written before that place. Returns the number of bytes written back. Throws as `recoverTarget`.
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

/** Does the work. If the signal ends it, reports what is left and what to do. */
export async function tellWhereStopped<T>(
  { device, recoverWords }: OpenTarget,
  env: WhoWaits,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (env.signal.aborted)
      env.notice(`${device.path}: still half-written; run "${recoverWords}" to finish taking it back`);
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
    // A crash may have torn what an earlier attempt wrote back, even where the apply was flushed.
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
