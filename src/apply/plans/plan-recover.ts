import { resolve } from 'node:path';
import { endOf, sumLengths } from '../../bytes/extent.js';
import type { LvmsyncError } from '../../errors.js';
import type {
  AnnouncedWrite,
  JournalContents,
  ResumePlace,
  SavedExtent,
} from '../../journal/journal-reader.js';
import type { ApplyNote } from '../../journal/apply-note.js';
import type { StreamHeader } from '../../stream/stream-header.js';
import { announcesWrites, isOverwriting, whyNotKept, type ApplyPolicy } from '../../targets/apply-policy.js';
import { NOTHING_SAMPLED, whyNotBase } from '../../targets/base-check.js';
import { believe, type TargetState } from '../../targets/state-record.js';
import { stateDuring } from '../apply-states.js';
import { undoUnitOf } from '../make-applier.js';
import { whyTooSmall } from './plan-apply.js';

/** A stream that is applied after an unfinished apply was dealt with. */
export interface NextStream {
  /** Null in PROTO[3]. */
  readonly header: StreamHeader | null;
  readonly policy: ApplyPolicy;
  /** Whether its sender can be told where to continue. */
  readonly canContinue: boolean;
}

/** Why an unfinished apply is dealt with. */
export interface RecoverRequest {
  /** Write the old bytes back even if someone else wrote since. */
  readonly evenIfChanged: boolean;
  /** What the target held before the apply, if that was just found out. */
  readonly before?: TargetState | null;
  /** Null if nothing else is applied. */
  readonly next: NextStream | null;
}

/** What an unfinished apply left in its target's folder. */
export interface LeftOver {
  readonly note: ApplyNote;
  /** `named`: it is complete, and has the name of the snapback already. */
  readonly journal: JournalContents | 'named';
}

/** What is known of an unfinished apply before anything is written. */
export interface RecoverFacts {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly isFile: boolean;
  /** The `lvmsync recover` command for the target, for messages. */
  readonly recoverWords: string;
  /** What its record says. */
  readonly holds: TargetState | null;
  /** What the apply left; null: none was interrupted, or there is an obstacle to reading it. */
  readonly left: LeftOver | null;
  /** Why lvmsync cannot tell whether someone else wrote since; null: surely no one did. */
  readonly gap: string | null;
  /** Whether the target holds all that was written before the place at which the apply could continue. */
  readonly holdsAllBefore: boolean;
  /** Why the old bytes cannot or must not be written back; null: they can. */
  readonly obstacle: LvmsyncError | null;
}

/** Old bytes are written back. */
export interface WriteBack {
  readonly do: 'write back';
  readonly note: ApplyNote;
  readonly saved: readonly SavedExtent[];
  /** The writes that this takes back. */
  readonly over: readonly AnnouncedWrite[];
  readonly bytes: number;
}

/** The next stream continues the apply. */
export interface Continue {
  readonly do: 'continue';
  readonly note: ApplyNote;
  readonly journal: JournalContents;
  readonly place: ResumePlace;
  /** What was known about the target before the apply. */
  readonly before: TargetState | null;
  /** How much was written back before. */
  readonly bytes: number;
}

/** One thing that is done about an unfinished apply. */
export type RecoverStep =
  /** From here on, the recorded state of the target may be wrong. */
  | { readonly do: 'forget the state' }
  | WriteBack
  | { readonly do: 'drop the journal'; readonly note: ApplyNote }
  | { readonly do: 'record'; readonly state: TargetState }
  | Continue
  /** The journal of a complete apply becomes the snapback, or is removed. */
  | { readonly do: 'finish the journal'; readonly note: ApplyNote }
  /** Nothing can be taken back, and the next stream overwrites everything. */
  | { readonly do: 'give up'; readonly state: TargetState | null; readonly why: LvmsyncError };

/** What is done about an unfinished apply, and why it may not be. */
export interface RecoverPlan {
  /**
   * An apply that was cut short, as far as can be known; an apply that had written everything; what a copy or an apply
   * without a journal left; or nothing.
   */
  readonly found: 'incomplete' | 'complete' | 'half copied' | 'half written' | 'nothing';
  /** In this order. Nothing is done if there are refusals. */
  readonly steps: readonly RecoverStep[];
  /** The state that the unfinished apply was to lead to; null: it has no name. */
  readonly from: string | null;
  /** What the target is known to hold afterwards. */
  readonly to: TargetState | null;
  /** The most important first. */
  readonly refusals: readonly LvmsyncError[];
}

const FORCED = 'an apply was taken back although someone wrote to it since';

/** Decides what becomes of an unfinished apply, from what is known of it and nothing else. */
export function planRecovery(request: RecoverRequest, facts: RecoverFacts): RecoverPlan {
  const { next } = request;
  const { holds, left, obstacle } = facts;
  const refusals = next === null ? [] : whyNotNext(next, facts);
  const plan = { from: null, to: null, refusals };
  if (obstacle !== null) return { ...plan, found: 'incomplete', ...withoutWayBack(next, obstacle, refusals) };
  if (left === null) return { ...plan, found: heldBy(holds), steps: [], to: holds };
  const { note, journal } = left;
  if (journal === 'named' || journal.isFinished)
    return {
      ...plan,
      found: 'complete',
      steps: [{ do: 'forget the state' }, { do: 'finish the journal', note }],
    };
  const from = journal.header.base;
  const place = facts.holdsAllBefore ? placeToContinue(request, facts) : null;
  if (place !== null) {
    const { gap } = facts;
    const before = note.before === null || gap === null ? note.before : believe(note.before, gap);
    const back = writeBack(note, journal, place);
    const on: Continue = { do: 'continue', note, journal, place, before, bytes: back.bytes };
    return { found: 'incomplete', steps: [back, on], from, to: holds, refusals };
  }
  const to = stateBefore(request, note, journal, facts.gap);
  const wrongWay = next === null ? null : whyNotWayBack(next, to, facts);
  return {
    found: 'incomplete',
    steps: [
      { do: 'forget the state' },
      writeBack(note, journal, null),
      { do: 'drop the journal', note },
      ...(to === null ? [] : [{ do: 'record', state: to } as const]),
    ],
    ...{ from, to },
    refusals: wrongWay === null ? refusals : [...refusals, wrongWay],
  };
}

/** What a target holds if no apply with a journal was left unfinished. */
function heldBy(holds: TargetState | null): 'half copied' | 'half written' | 'nothing' {
  if (holds?.is === 'copying') return 'half copied';
  return holds?.is === 'applying from' ? 'half written' : 'nothing';
}

/** Where nothing can be taken back: only a stream that overwrites everything can follow. */
function withoutWayBack(
  next: NextStream | null,
  why: LvmsyncError,
  refusals: readonly LvmsyncError[],
): Pick<RecoverPlan, 'steps' | 'to' | 'refusals'> {
  if (next === null || !isOverwriting(next.header))
    return { steps: [], to: null, refusals: [...refusals, why] };
  // That it is half-copied stays true if this copy is refused.
  const state = stateDuring(next.header, null);
  return { steps: [{ do: 'give up', state, why }], to: state, refusals };
}

/** An earlier apply stays as it is where nothing can follow it. */
function whyNotNext({ header, policy }: NextStream, facts: RecoverFacts): readonly LvmsyncError[] {
  const notKept = announcesWrites(header) ? whyNotKept(policy, header) : null;
  return [notKept, whyTooSmall(header, facts)].filter((each) => each !== null);
}

/** The error of a stream that must not be applied to what a target would be taken back to. */
function whyNotWayBack(
  { header, policy }: NextStream,
  to: TargetState | null,
  { path, recoverWords }: RecoverFacts,
): LvmsyncError | null {
  if (header === null || policy.forceBase || to?.is === 'copying') return null;
  const why = `that is what "${recoverWords}" would take it back to after an interrupted apply; nothing was written`;
  return whyNotBase(path, header, { state: to, sample: NOTHING_SAMPLED }, why);
}

/** Takes back what was written after a place; null: everything. */
function writeBack(note: ApplyNote, journal: JournalContents, place: ResumePlace | null): WriteBack {
  const saved = journal.saved.slice(place?.savedCount ?? 0);
  const over = journal.writes.slice(place?.writeCount ?? 0);
  return { do: 'write back', note, saved, over, bytes: sumLengths(saved) };
}

/**
 * What a target holds after it was taken back: what it held before the apply, if no one else wrote to it since. If
 * nothing was recorded, only the journal's header names that state.
 */
function stateBefore(
  request: RecoverRequest,
  note: ApplyNote,
  { header: { result } }: JournalContents,
  gap: string | null,
): TargetState | null {
  const { before = note.before } = request;
  const why = request.evenIfChanged ? FORCED : gap;
  if (before !== null) return why === null || before.is === 'copying' ? before : believe(before, why);
  if (result === null) return null;
  return {
    ...{ is: 'exactly', identity: result, from: null },
    believed: 'nothing was known of the target before',
  };
}

/**
 * The place at which the next stream could continue an unfinished apply of the same stream; null: it cannot. The target
 * must also hold all that was written before that place.
 */
export function placeToContinue({ next }: RecoverRequest, facts: RecoverFacts): ResumePlace | null {
  const { holds, left } = facts;
  if (next === null || !next.canContinue || next.header === null || left === null) return null;
  const { note, journal } = left;
  if (journal === 'named' || journal.isFinished || !isWanted(note, next.policy)) return null;
  // The record names the base of the unfinished apply, until a recover begins.
  if (holds?.is !== 'applying from' || holds.identity !== next.header.base) return null;
  const { resumePlace: place } = journal;
  if (place === null || !isSameStream(journal.header, next.header)) return null;
  return isInOrder(journal, place) ? place : null;
}

/** Whether it is sure that only the run of the next stream wrote: within it, seconds later, nothing else is checked. */
export function isUntouched({ next }: RecoverRequest, { left, gap }: RecoverFacts): boolean {
  const run = left?.note.left?.run;
  return gap === null && run !== undefined && run === next?.header?.run;
}

/** Whether the next run would have the same journal: with the same snapback, or without one. */
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
