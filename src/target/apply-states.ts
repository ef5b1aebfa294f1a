import type { StreamHeader } from '../stream/stream-header.js';
import { isOverwriting } from './apply-policy.js';
import { isCovered } from './base-check.js';
import { isSurely, type TargetState } from './state-record.js';

/*
 * What is known of a target before, while and after a stream is applied: what its record says then, and what an undo
 * may say that it leads to. The stream's base is no witness of what was there: a second run from one base meets what
 * the first one brought.
 */

/** What contradicts that a target held a stream's base. */
export interface FoundContents {
  /** Blocks that the target held neither old nor new. */
  readonly mismatches: number;
  /** Blocks and sections that did not bear out that it held the base. */
  readonly doubts: number;
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

/** Whether every block must prove that the target held the base: nothing else says so. */
export function mustBeProved(before: TargetState | null): boolean {
  return before === null || !isSurely(before, before.identity);
}

/** Whether an undo leads to the state of this name, and from the one that the stream leads to. */
export function isBorneOut(
  applied: StreamHeader | null,
  before: TargetState | null,
  { mismatches, doubts }: FoundContents,
): boolean {
  const base = applied?.base ?? null;
  if (before === null || mustBeProved(before) || before.identity === base) return doubts === 0;
  // What an earlier run from the same base brought differs, and all of it comes anew; else the rest is not known.
  return mismatches === 0 || (applied !== null && isCovered(applied, before));
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
    ...{ is: 'applying from', identity: base, from: base },
    ...(result === null ? {} : { to: result }),
    ...(table === undefined ? {} : { table }),
  };
}

/**
 * What is known of a target that a stream was applied to: the state that its header names, or that there is something
 * newer than its base, by a chain of evidence or no more than believed. Null where it has no name.
 *
 * @param before what was known of it until then
 */
export function stateAfter(
  header: StreamHeader,
  before: TargetState | null,
  found: FoundContents,
): TargetState | null {
  const { kind, base, result, table } = header;
  const gap = gapIn(header, before, found);
  const way = {
    // An undo's base is no state that what it leads to has anything of.
    from: kind === 'changes' ? base : null,
    ...(gap === null ? {} : { believed: gap }),
    ...(kind !== 'changes' || table === undefined ? {} : { table }),
  };
  if (result !== null) return { is: 'exactly', identity: result, ...way };
  // An undo that leads to no name leads to before its base, not to some time after it.
  return base === null || kind !== 'changes' ? null : { is: 'since', identity: base, ...way };
}

/** Whether changes met a target that had taken some of them, all of which they name: then what it held may differ. */
export function isCheckedRerun(header: StreamHeader | null, before: TargetState | null): boolean {
  return header?.kind === 'changes' && before !== null && isCovered(header, before);
}

/**
 * How many blocks speak against what a target was known to hold. Where changes meet some of themselves, what came then
 * and changed again since is neither old nor new, as it is to be.
 */
export function countUnexpected(
  header: StreamHeader | null,
  before: TargetState | null,
  mismatches: number,
): number {
  const heldResult = before?.is === 'exactly' && before.identity === header?.result;
  return isCheckedRerun(header, before) && !heldResult ? 0 : mismatches;
}

/** Where the chain of evidence for what a stream leads to has its gap; null where it has none. */
function gapIn(header: StreamHeader, before: TargetState | null, found: FoundContents): string | null {
  const { kind, base, result } = header;
  if (kind === 'full') return null;
  if (base === null) return 'what was applied does not say which state it starts from';
  if (before === null) return 'nothing was known of the target before';
  if (before.believed !== undefined) return before.believed;
  if (isSurely(before, result) && found.mismatches === 0) return null;
  if (isSurely(before, base) && found.doubts === 0) return null;
  if (isCheckedRerun(header, before)) return null;
  return isSurely(before, base) || isSurely(before, result)
    ? `someone wrote to it: ${found.doubts} of the blocks that were replaced were not as recorded`
    : 'it was not known to hold what was applied to it starts from';
}
