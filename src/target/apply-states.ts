import type { StreamHeader } from '../stream/stream-header.js';
import { isOverwriting } from './apply-policy.js';
import type { TargetState } from './state-record.js';

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
  return before?.is === 'exactly' ? before.identity : applied.base;
}

/** Whether every block must prove that the target held the base: nothing else says so. */
export function mustBeProved(before: TargetState | null): boolean {
  return before?.is !== 'exactly';
}

/** Whether an undo leads to the state of this name, and from the one that the stream leads to. */
export function isBorneOut(
  applied: StreamHeader | null,
  before: TargetState | null,
  { mismatches, doubts }: FoundContents,
): boolean {
  const base = applied?.base ?? null;
  if (before?.is !== 'exactly' || before.identity === base) return doubts === 0;
  // What an earlier run from the same base brought differs, and all of it comes anew; else the rest is not known.
  return mismatches === 0 || before.from === base;
}

/** What is known of a target while a stream is applied, which held `before`. */
export function stateDuring(header: StreamHeader | null, before: TargetState | null): TargetState | null {
  const { kind, base = null, result = null } = header ?? {};
  if (isOverwriting(header))
    return { is: 'copying', identity: result ?? 'a state without a name', from: null };
  // Taken back, it is half-copied again.
  if (kind === 'full') return before?.is === 'copying' ? before : null;
  return base === null ? null : { is: 'applying from', identity: base, from: base };
}

/** What is known of a target that a stream was applied to, all of it where it should have been. */
export function stateAfter(
  kind: StreamHeader['kind'],
  base: string | null,
  result: string | null,
): TargetState | null {
  if (result !== null) return { is: 'exactly', identity: result, from: base };
  // An undo that leads to no name leads to before its base, not to some time after it.
  return base === null || kind !== 'changes' ? null : { is: 'since', identity: base, from: base };
}
