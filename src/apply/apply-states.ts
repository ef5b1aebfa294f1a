import type { Extent } from '../bytes/extent.js';
import type { FoundContents } from '../engine/run-prover.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { isOverwriting } from '../targets/apply-policy.js';
import { isCovered } from '../targets/base-check.js';
import { coverageAfter, coverageDuring, coverageOfAll, type CoverageAfter } from '../targets/coverage.js';
import { isSurely, type TargetState } from '../targets/state-record.js';

/*
 * What is known about a target before, during and after an apply: what its record says then, and which result its undo
 * may name. The stream's base does not tell what was there: a second run from the same base finds what the first one
 * brought.
 */

/** What a whole run found, and what it can say about the rest of the target. */
export interface RunFindings extends FoundContents {
  /** Blocks and sections of the changes that held something other than the base. */
  readonly failures: number;
  /** When it began to write or to compare: ISO 8601; null: not known. */
  readonly began: string | null;
  /** The extent in which everything that did not change was compared; null: no audit. */
  readonly audited: Extent | null;
  readonly strays: number;
  /** Whether it continued an apply of an earlier session. */
  readonly isContinued: boolean;
  /** Whether the user forced the apply, so that the base was not checked. */
  readonly isForced: boolean;
}

/**
 * The identity of what a target held before a stream: the one in its record, or else the stream's base, which the
 * contents must then confirm. Null: not known.
 *
 * @param before what the record said
 */
export function formerName(applied: StreamHeader | null, before: TargetState | null): string | null {
  if (applied === null || before?.is === 'copying') return null;
  return before !== null && isSurely(before, before.identity) ? before.identity : applied.base;
}

/** Whether a target is recorded to hold exactly the result of a stream, and the result differs from the base. */
export function isRecordedResult(header: StreamHeader | null, before: TargetState | null): boolean {
  const { base = null, result = null } = header ?? {};
  return before?.is === 'exactly' && before.identity === result && result !== base;
}

/** Whether every block must prove that the target held the base, because no record says so. */
export function mustBeProved(before: TargetState | null): boolean {
  return before === null || !isSurely(before, before.identity);
}

/** Whether the undo of an apply leads from the stream's result to the state that its header names. */
export function isBorneOut(
  applied: StreamHeader | null,
  before: TargetState | null,
  found: FoundContents,
): boolean {
  const base = applied?.base ?? null;
  const { mismatches, doubts } = found;
  if (before === null || mustBeProved(before) || before.identity === base) return doubts === 0;
  if (findForeignWrites(applied, before, found) !== null) return false;
  // What an earlier run from the same base brought may differ, but all of it is sent again; otherwise the rest is not
  // known.
  if (applied !== null && isCovered(applied, before)) return true;
  // Any other stream, such as a forced one, may start from another state than the target's.
  return mismatches === 0 && isRecordedResult(applied, before);
}

/** In the place of a name, which no state has. */
const NAMELESS_STATE = 'a state without a name';

/** What is known about a target during an apply, if it held `before`. */
export function stateDuring(header: StreamHeader | null, before: TargetState | null): TargetState | null {
  const { kind, base = null, result = null, table } = header ?? {};
  if (isOverwriting(header)) return { is: 'copying', identity: result ?? NAMELESS_STATE, from: null };
  // When this apply is taken back, the target is half-copied again.
  if (kind === 'full') return before?.is === 'copying' ? before : null;
  // Only the same changes, a scan or a copy can make it whole, and they do not ask for the name.
  if (base === null) return { is: 'applying from', identity: NAMELESS_STATE, from: null };
  return {
    ...{ is: 'applying from', identity: base, from: base, ...coverageDuring(before?.proved) },
    ...(result === null ? {} : { to: result }),
    ...(table === undefined ? {} : { table }),
  };
}

/**
 * What is known about a target after an apply: that it holds the result that the header names, or its base with later
 * changes. `believed` if the chain of evidence has a gap. Null: the state has no name.
 *
 * @param before what was known about it before the apply
 * @param suspicion why it is in doubt, as found by this run or an earlier one
 * @param mark the mark of the undo that leads back from the new state, if that has no name
 */
export function stateAfter(
  header: StreamHeader,
  before: TargetState | null,
  found: RunFindings,
  { suspicion, mark }: { readonly suspicion: string | null; readonly mark: string | null },
): TargetState | null {
  const { kind, base, result, table } = header;
  const proved = provedAfter(header, before, found);
  // Every byte was checked since the gap or the contradiction, and no one else wrote in between.
  const isProved = proved?.isComplete === true;
  const gap = isProved ? null : (suspicion ?? gapIn(header, before, found));
  const way = {
    // The result of an undo contains nothing of its base, so it has no `from`.
    from: kind === 'changes' ? base : null,
    ...(proved === null ? {} : { proved: proved.coverage }),
    ...(gap === null ? {} : { believed: gap }),
    ...(kind !== 'changes' || table === undefined ? {} : { table }),
  };
  if (result !== null) return { is: 'exactly', identity: result, ...way };
  // The result of an undo is older than its base, so it is not the base with later changes.
  if (base === null || kind !== 'changes') return null;
  return { is: 'since', identity: base, ...way, ...(mark === null ? {} : { mark }) };
}

/** Whether the target surely held the unnamed state that an undo starts from. */
function isSurelyMarked({ kind, mark }: StreamHeader, before: TargetState | null): boolean {
  return kind === 'undo' && mark !== undefined && before?.believed === undefined && before?.mark === mark;
}

/**
 * Whether changes are applied to a target that already has some of them, and cover all of those: then its contents may
 * differ from base and result.
 */
export function isCheckedRerun(header: StreamHeader | null, before: TargetState | null): boolean {
  return header?.kind === 'changes' && before !== null && isCovered(header, before);
}

/**
 * How many blocks contradict what a target was known to hold. In a checked rerun, a block that was sent before and has
 * changed since is rightly neither old nor new, so mismatches do not count; audited pieces that differ still count.
 */
export function countUnexpected(
  header: StreamHeader | null,
  before: TargetState | null,
  { mismatches, strays = 0 }: Pick<FoundContents, 'mismatches' | 'strays'>,
): number {
  const heldResult = before?.is === 'exactly' && before.identity === header?.result;
  return isCheckedRerun(header, before) && !heldResult ? strays : mismatches;
}

/**
 * The only place that decides whether a target's contents contradict what it should have held: in words, or null. Every
 * block that was checked counts, whether it was replaced or only proved. A block that was neither old nor new is a
 * contradiction, except in a checked rerun. If the target was surely at the base, or at the result, anything else than
 * that is a contradiction too.
 */
export function findForeignWrites(
  header: StreamHeader | null,
  before: TargetState | null,
  { mismatches, doubts, strays = 0, reverted = 0 }: FoundContents,
): string | null {
  // A comparison assumes nothing about what is there.
  if (header === null || header.kind === 'full') return null;
  if (strays > 0) return `someone wrote to it: ${strays} of the audited pieces outside the changes differed`;
  const { base } = header;
  const blocks = 'of the replaced blocks held';
  if (reverted > 0)
    return `someone wrote to it: ${reverted} ${blocks} the old bytes, although its record says that it held the new ones`;
  if (isSurely(before, base) && doubts > 0 && mismatches === 0)
    return `someone wrote to it: some ${blocks} the new bytes, although its record says that it held the old ones`;
  if (countUnexpected(header, before, { mismatches }) === 0) return null;
  const never = before === null ? ', or it never held the base of the changes' : '';
  return `someone wrote to it, or to the snapshot${never}: ${mismatches} ${blocks} neither the old bytes nor the new bytes`;
}

/**
 * Why a target's contents outside the applied changes are in doubt, as found by this run or an earlier one. The doubt
 * lasts until all of the target was compared or copied, or a round of audits is complete. Null: no doubt.
 *
 * @param earlier what an earlier run found
 */
export function suspicionAfter(
  header: StreamHeader | null,
  before: TargetState | null,
  found: FoundContents,
  earlier: string | null,
): string | null {
  return header?.kind === 'full' ? null : (findForeignWrites(header, before, found) ?? earlier);
}

/** How much of a target is proved after a stream; null: nothing to record. */
function provedAfter(
  header: StreamHeader,
  before: TargetState | null,
  found: RunFindings,
): CoverageAfter | null {
  const { kind, volumeSize } = header;
  if (kind === 'full') {
    // The comparison was made before the stream began, and its time is not known.
    return isOverwriting(header) ? coverageOfAll(volumeSize, found.began) : null;
  }
  const { began, audited, strays, isContinued } = found;
  const evidence = {
    ...{ began: began ?? '', audited: kind === 'changes' && began !== null ? audited : null },
    follows: isNextLink(header, before, found),
    isContradicted: strays > 0 || isContradicted(header, before, found),
    isWhole: !isContinued || isUnbroken(before),
  };
  return coverageAfter(before?.proved, volumeSize, evidence);
}

/**
 * Whether surely no one else wrote between the sessions of an apply that started from this state: what an earlier
 * session brought is not checked again. If that is not certain, `believe` was called, which drops the proved coverage.
 */
function isUnbroken(before: TargetState | null): boolean {
  if (before === null) return false;
  return before.believed === undefined || (before.proved?.covered ?? 0) > 0;
}

/**
 * Whether a stream of changes starts from exactly what was recorded, sure or believed. Then what was proved about that
 * is also true of the result.
 */
function isNextLink(
  header: StreamHeader,
  before: TargetState | null,
  { isForced }: Pick<RunFindings, 'isForced'>,
): boolean {
  const { kind, base, result } = header;
  if (kind !== 'changes' || base === null || before === null || isForced) return false;
  if (before.is === 'exactly' && (before.identity === base || before.identity === result)) return true;
  return (before.is === 'exactly' || before.is === 'since') && isCheckedRerun(header, before);
}

/** Whether the contents before the apply show that another program wrote. */
function isContradicted(
  header: StreamHeader,
  before: TargetState | null,
  { mismatches, failures, reverted = 0 }: RunFindings,
): boolean {
  const { base, result } = header;
  const heldResult = before?.is === 'exactly' && before.identity === result;
  if (heldResult) return mismatches > 0 || reverted > 0;
  if (isCheckedRerun(header, before)) return false;
  const heldBase = before?.is === 'exactly' && before.identity === base;
  return heldBase ? failures > 0 : mismatches > 0;
}

/** The gap in the chain of evidence for a stream's result, in words; null: no gap. */
function gapIn(header: StreamHeader, before: TargetState | null, found: RunFindings): string | null {
  const { kind, base, result } = header;
  if (kind === 'full') return null;
  if (isSurelyMarked(header, before)) return null;
  if (base === null) return 'the applied stream does not name its base';
  if (before === null) return 'nothing was known of the target before';
  if (before.believed !== undefined) return before.believed;
  if (isSurely(before, result) && found.mismatches === 0) return null;
  if (isSurely(before, base) && found.doubts === 0) return null;
  if (isCheckedRerun(header, before)) return null;
  return 'it was not known to hold the base of the applied stream';
}
