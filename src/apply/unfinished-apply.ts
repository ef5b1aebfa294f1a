import { resolve } from 'node:path';
import { endOf } from '../bytes/extent.js';
import { readDurableLength } from '../engine/durable-length.js';
import { findGap, refuseOtherDevice } from '../journal/journal-bond.js';
import { readJournal, type JournalContents, type ResumePlace } from '../journal/journal-reader.js';
import { isThere, Journal, readNote, type ApplyNote } from '../journal/journal.js';
import { holdsAllBefore } from '../journal/written-blocks.js';
import type { ResumePoint } from '../stream/mark-format.js';
import type { StreamHeader } from '../stream/stream-header.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import type { OpenTarget } from '../targets/open-target.js';
import { believe, type TargetState } from '../targets/state-record.js';
import { undoUnitOf } from './make-applier.js';
import {
  recoverTarget,
  takeBackTo,
  tellWhereStopped,
  type RecoverOutcome,
  type WhoWaits,
} from './recover.js';

/** An unfinished apply, at a place from which the same stream can continue. */
export interface ResumableApply {
  readonly journal: Journal;
  readonly point: ResumePoint;
  /** What was known about the target before the apply began; only believed if someone may have written since. */
  readonly before: TargetState | null;
}

/** The outcome for an unfinished apply: it is settled, or ready to be resumed. */
export type EarlierApply =
  RecoverOutcome | { readonly kind: 'resumable'; readonly apply: ResumableApply; readonly bytes: number };

/**
 * Settles an unfinished earlier apply to a target. If it was of the same stream that now comes in, takes the target
 * back to the last place from which the stream can continue, else all the way. Throws as `recoverTarget`.
 *
 * @param header the header of the incoming stream, if its sender can be told where to continue, or null
 * @param check throws if the stream must not be applied to what the target is taken back to
 */
export async function settleEarlierApply(
  target: OpenTarget,
  header: StreamHeader | null,
  policy: ApplyPolicy,
  env: WhoWaits,
  check: (state: TargetState | null) => void = () => undefined,
): Promise<EarlierApply> {
  const resumable =
    header === null
      ? null
      : await tellWhereStopped(target, env, () => takeUp(target, header, policy, env.signal));
  return resumable ?? (await recoverTarget(target, env, { check }));
}

async function takeUp(
  target: OpenTarget,
  header: StreamHeader,
  policy: ApplyPolicy,
  signal: AbortSignal,
): Promise<EarlierApply | null> {
  const { device, folder, record } = target;
  const note = await readNote(folder);
  if (note === null || !isWanted(note, policy) || !(await isThere(note.log))) return null;
  // The record names the base of the unfinished apply, until a recover begins.
  const { holds } = await record.read();
  if (holds?.is !== 'applying from' || holds.identity !== header.base) return null;
  const contents = await readJournal(note.log, await readDurableLength(folder), signal);
  const { resumePlace: place } = contents;
  if (place === null || contents.isFinished || !isSameStream(contents.header, header)) return null;
  if (!isInOrder(contents, place)) return null;
  // Within the same run, seconds later, it is enough that no one else wrote. Otherwise everything is checked.
  await refuseOtherDevice(target, note);
  const gap = await findGap(target, note);
  const isUntouched = gap === null && note.left !== undefined && note.left.run === header.run;
  if (!isUntouched && !(await holdsAllBefore(place, device, contents, signal))) return null;
  const bytes = await takeBackTo(place, target, contents, note, signal);
  const journal = await Journal.continue(folder, note, { ...contents, place });
  const before = note.before === null || gap === null ? note.before : believe(note.before, gap);
  return { kind: 'resumable', apply: { journal, point: place.point, before }, bytes };
}

/** Whether this run would have the same journal: with the same snapback, or without one. */
function isWanted(note: ApplyNote, { journal, snapback }: ApplyPolicy): boolean {
  if (snapback !== null) return note.snapback === resolve(snapback);
  return journal && note.snapback === null;
}

function isSameStream(undo: StreamHeader, applied: StreamHeader): boolean {
  const { kind, base, result, volumeSize } = applied;
  return (
    kind === 'changes' &&
    base !== null &&
    result !== null &&
    undo.base === result &&
    undo.volumeSize === volumeSize &&
    undo.blockSize === undoUnitOf(applied)
  );
}

/** Whether nothing was written twice. Otherwise the journal would not hold what the target held at the place. */
function isInOrder({ writes, saved }: JournalContents, place: ResumePlace): boolean {
  let end = 0;
  for (const write of writes) {
    if (write.offset < end) return false;
    end = endOf(write);
  }
  const before = writes[place.writeCount - 1];
  return saved.slice(place.savedCount).every(({ offset }) => before === undefined || offset >= endOf(before));
}
