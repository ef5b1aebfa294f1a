import type { Extent } from '../bytes/extent.js';
import type { FoundContents } from '../engine/run-prover.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { isOverwriting } from '../targets/apply-policy.js';
import { isCovered } from '../targets/base-check.js';
import { coverageAfter, coverageDuring, coverageOfAll, type CoverageAfter } from '../targets/coverage.js';
import { isSurely, type TargetState } from '../targets/state-record.js';

/*
 * What is known of a target before, while and after a stream is applied: what its record says then, and what an undo
 * may say that it leads to. The stream's base is no witness of what was there: a second run from one base meets what
 * the first one brought.
 */

/** What a whole run found, and what it can say of the rest of the target. */
export interface RunFindings extends FoundContents {
  /** Blocks and sections of the changes that held something else than the base. */
  readonly failures: number;
  /** When it began to write what it brought, or to compare: ISO 8601; null where that is not known. */
  readonly began: string | null;
  /** The extent in which all that did not change was compared; null where it was not. */
  readonly audited: Extent | null;
  readonly strays: number;
  /** Whether it went on with an apply that an earlier session began. */
  readonly isContinued: boolean;
  /** Whether the user's word stands for what was not checked. */
  readonly isForced: boolean;
}

/**
 * The name of what a target held before a stream: that of its record, or else that of the stream's base, which the
 * contents must then bear out. Null where there is none.
 *
 * @param before what the record said
 */
export function formerName(applied: StreamHeader | null, before: TargetState | null): string | null {
  if (applied === null || before?.is === 'copying') return null;
  return before !== null && isSurely(before, before.identity) ? before.identity : applied.base;
}

/** Whether a target is recorded to hold just what a stream leads to, from another state. */
export function isRecordedResult(header: StreamHeader | null, before: TargetState | null): boolean {
  const { base = null, result = null } = header ?? {};
  return before?.is === 'exactly' && before.identity === result && result !== base;
}

/** Whether every block must prove that the target held the base: nothing else says so. */
export function mustBeProved(before: TargetState | null): boolean {
  return before === null || !isSurely(before, before.identity);
}

/** Whether an undo leads to the state of this name, and from the one that the stream leads to. */
export function isBorneOut(
  applied: StreamHeader | null,
  before: TargetState | null,
  found: FoundContents,
): boolean {
  const base = applied?.base ?? null;
  const { mismatches, doubts } = found;
  if (before === null || mustBeProved(before) || before.identity === base) return doubts === 0;
  if (findForeignWrites(applied, before, found) !== null) return false;
  // What an earlier run from the same base brought differs, and all of it comes anew; else the rest is not known.
  if (applied !== null && isCovered(applied, before)) return true;
  // Anything else, such as what the user forced, may start from another state than what was there.
  return mismatches === 0 && isRecordedResult(applied, before);
}

/** What is known of a target while a stream is applied, which held `before`. */
export function stateDuring(header: StreamHeader | null, before: TargetState | null): TargetState | null {
  const { kind, base = null, result = null, table } = header ?? {};
  if (isOverwriting(header))
    return { is: 'copying', identity: result ?? 'a state without a name', from: null };
  // Taken back, it is half-copied again.
  if (kind === 'full') return before?.is === 'copying' ? before : null;
  if (base === null) return null;
  return {
    ...{ is: 'applying from', identity: base, from: base, ...coverageDuring(before?.proved) },
    ...(result === null ? {} : { to: result }),
    ...(table === undefined ? {} : { table }),
  };
}

/**
 * What is known of a target that a stream was applied to: the state that its header names, or that there is something
 * newer than its base, by a chain of evidence or no more than believed. Null where it has no name.
 *
 * @param before what was known of it until then
 * @param suspicion why it is in doubt, by what this run found or an earlier one
 * @param mark of the undo that leads back from there, where that has no name
 */
export function stateAfter(
  header: StreamHeader,
  before: TargetState | null,
  found: RunFindings,
  suspicion: string | null = null,
  mark: string | null = null,
): TargetState | null {
  const { kind, base, result, table } = header;
  const proved = provedAfter(header, before, found);
  // Each byte was seen since the gap or the contradiction, and nothing has come between.
  const isProved = proved?.isComplete === true;
  const gap = isProved ? null : (suspicion ?? gapIn(header, before, found));
  const way = {
    // An undo's base is no state that what it leads to has anything of.
    from: kind === 'changes' ? base : null,
    ...(proved === null ? {} : { proved: proved.coverage }),
    ...(gap === null ? {} : { believed: gap }),
    ...(kind !== 'changes' || table === undefined ? {} : { table }),
  };
  if (result !== null) return { is: 'exactly', identity: result, ...way };
  // An undo that leads to no name leads to before its base, not to some time after it.
  if (base === null || kind !== 'changes') return null;
  return { is: 'since', identity: base, ...way, ...(mark === null ? {} : { mark }) };
}

/** Whether an undo met the very state without a name that it leads back from. */
function isSurelyMarked({ kind, mark }: StreamHeader, before: TargetState | null): boolean {
  return kind === 'undo' && mark !== undefined && before?.believed === undefined && before?.mark === mark;
}

/** Whether changes met a target that had taken some of them, all of which they name: then what it held may differ. */
export function isCheckedRerun(header: StreamHeader | null, before: TargetState | null): boolean {
  return header?.kind === 'changes' && before !== null && isCovered(header, before);
}

/**
 * How many blocks speak against what a target was known to hold. Where changes meet some of themselves, what came then
 * and changed again since is neither old nor new, as it is to be; what did not change and differs still counts.
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
 * The one judgement of whether what a target held contradicts what it should have held: how that shows, or null. Each
 * block that was looked at counts alike, whether it was to be replaced or only to be proved. What was neither old nor
 * new does, but where changes meet some of themselves and name all of those; and where the target was surely at the
 * base, or at the result, so does anything else than just that.
 */
export function findForeignWrites(
  header: StreamHeader | null,
  before: TargetState | null,
  { mismatches, doubts, strays = 0, reverted = 0 }: FoundContents,
): string | null {
  // A comparison begins with no word about what is there.
  if (header === null || header.kind === 'full') return null;
  if (strays > 0)
    return `someone wrote to it: ${strays} of the audited pieces outside the changes differed`;
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
 * Why what a target holds outside of what a stream brought is in doubt, by what this run found or an earlier one: until
 * all of it was compared, or copied, or audits have come around. Null where nothing speaks against it.
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

/** What of a target is proved after a stream; null where there is nothing to say of it. */
function provedAfter(
  header: StreamHeader,
  before: TargetState | null,
  found: RunFindings,
): CoverageAfter | null {
  const { kind, volumeSize } = header;
  if (kind === 'full') {
    // What was compared was compared before the stream began, and nobody says when.
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
 * Whether surely nobody wrote between two sessions of an apply that began on this: what the earlier one brought is not
 * looked at again. Where that cannot be told, `believe` was called, after which nothing is proved.
 */
function isUnbroken(before: TargetState | null): boolean {
  if (before === null) return false;
  return before.believed === undefined || (before.proved?.covered ?? 0) > 0;
}

/**
 * Whether a stream of changes leads from just what was recorded, sure or believed: then what was proved of that is true of
 * the result, too.
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

/** Whether what was there before shows that someone wrote who was none of ours. */
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

/** Where the chain of evidence for what a stream leads to has its gap; null where it has none. */
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
