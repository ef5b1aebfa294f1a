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

/** An apply that did not end, at a place from which the same stream can go on. */
export interface ResumableApply {
  readonly journal: Journal;
  readonly point: ResumePoint;
  /** What was known of the target before the apply began, less what may have happened to it since. */
  readonly before: TargetState | null;
}

/** What became of an apply that had not ended: over, or ready to be gone on with. */
export type EarlierApply =
  RecoverOutcome | { readonly kind: 'resumable'; readonly apply: ResumableApply; readonly bytes: number };

/**
 * Sees to an earlier apply to a target that did not end: where it was of the very stream that now comes in, it is
 * taken back to the last place at which that can go on, else all the way. Throws as `recoverTarget`.
 *
 * @param header of the stream whose sender can be told where to go on, or null
 * @param check throws where the stream may not meet what the target is taken back to
 */
export async function settleEarlierApply(
  target: OpenTarget,
  header: StreamHeader | null,
  policy: ApplyPolicy,
  about: WhoWaits,
  check: (state: TargetState | null) => void = () => undefined,
): Promise<EarlierApply> {
  const resumable =
    header === null
      ? null
      : await tellWhereStopped(target, about, () => takeUp(target, header, policy, about.signal));
  return resumable ?? (await recoverTarget(target, about, { check }));
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
  // Its base is that of the apply that is under way. It says something else from the moment on at which a recover begins.
  const { holds } = await record.read();
  if (holds?.is !== 'applying from' || holds.identity !== header.base) return null;
  const contents = await readJournal(note.log, await readDurableLength(folder), signal);
  const { resumePlace: place } = contents;
  if (place === null || contents.isFinished || !isSameStream(contents.header, header)) return null;
  if (!isInOrder(contents, place)) return null;
  // Within one run, seconds later, it is enough that nobody wrote; else all of it is looked at.
  await refuseOtherDevice(target, note);
  const gap = await findGap(target, note);
  const isUntouched = gap === null && note.left !== undefined && note.left.run === header.run;
  if (!isUntouched && !(await holdsAllBefore(place, device, contents, signal))) return null;
  const bytes = await takeBackTo(place, target, contents, note, signal);
  const journal = await Journal.continue(folder, note, { ...contents, place });
  const before = note.before === null || gap === null ? note.before : believe(note.before, gap);
  return { kind: 'resumable', apply: { journal, point: place.point, before }, bytes };
}

/** Whether the journal is the one that this run would have: the same snapback, or none. */
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

/** Whether nothing was written twice: else what stood at the place would not be what the journal holds. */
function isInOrder({ writes, saved }: JournalContents, place: ResumePlace): boolean {
  let end = 0;
  for (const write of writes) {
    if (write.offset < end) return false;
    end = endOf(write);
  }
  const before = writes[place.writeCount - 1];
  return saved.slice(place.savedCount).every(({ offset }) => before === undefined || offset >= endOf(before));
}
