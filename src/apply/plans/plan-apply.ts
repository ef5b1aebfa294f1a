import { UnsafeTargetError, type LvmsyncError } from '../../errors.js';
import type { StreamHeader } from '../../stream/stream-header.js';
import {
  announcesWrites,
  isOverwriting,
  keepsOldBytes,
  whyNotKept,
  type ApplyPolicy,
} from '../../targets/apply-policy.js';
import {
  describeGap,
  whyNotBase,
  whyNotUndo,
  whyNotUnnamedBase,
  type SampleResult,
  type StateChange,
  type UndoStart,
} from '../../targets/base-check.js';
import { describeTooSmall, type SizedTarget } from '../../targets/room-needed.js';
import { isDoubtful, type KnownState } from '../../targets/state-record.js';

/** What is applied, and how. */
export interface ApplyRequest {
  /** Null in PROTO[3]. */
  readonly header: StreamHeader | null;
  readonly policy: ApplyPolicy;
  /** The states that it starts from and leads to. The end of an undo may withdraw what its header names. */
  readonly change: StateChange | null;
}

/** What is known of a target before the first write. Sizes in bytes. */
export interface ApplyFacts {
  readonly path: string;
  readonly size: number;
  /** Whether it is an image file. */
  readonly isFile: boolean;
  readonly known: KnownState;
  /** Whether old bytes were written back to it just now. */
  readonly isTakenBack: boolean;
  readonly sample: SampleResult;
  /** What is known of the start of the stream, where that is an undo. */
  readonly undo: UndoStart;
  /** Why what lies below it, its state directory or its snapback cannot take the stream in; empty where they can. */
  readonly shortages: readonly LvmsyncError[];
}

/** The stream's blocks are written. Bytes. */
export interface WriteBlocks {
  readonly do: 'write';
  readonly bytes: number | null;
  /** Where the old bytes go. */
  readonly keeps: 'snapback' | 'journal' | 'nothing';
}

/** What an apply does, and why it may not. */
export interface ApplyPlan {
  /** The target. */
  readonly path: string;
  /**
   * Whether more blocks that did not change are compared before the first write, because nothing says for sure what the
   * target holds.
   */
  readonly looksCloser: boolean;
  readonly write: WriteBlocks;
  /** The states that the stream leads from and to, null where they have no name. */
  readonly from: string | null;
  readonly to: string | null;
  /** The most important first. An apply starts only if there are no refusals. */
  readonly refusals: readonly LvmsyncError[];
  readonly warnings: readonly string[];
}

/**
 * Decides what becomes of a stream that meets a target, from what is known before the first write and nothing else. The
 * same facts give the same plan, on any machine.
 */
export function planApply({ header, policy, change }: ApplyRequest, facts: ApplyFacts): ApplyPlan {
  const { path, known } = facts;
  const kept = announcesWrites(header) ? whyNotKept(policy, header) : null;
  const keeps = policy.snapback === null ? 'journal' : 'snapback';
  return {
    path,
    looksCloser: wantsCloserLook(header, known),
    write: {
      do: 'write',
      bytes: header?.expectedBytes ?? null,
      keeps: keepsOldBytes(policy, header) ? keeps : 'nothing',
    },
    from: header?.base ?? null,
    to: header?.result ?? null,
    refusals: [
      ...(kept === null ? [] : [kept]),
      ...whyNotState(header, change, policy, facts),
      ...facts.shortages,
    ],
    warnings: known.gap !== undefined && header?.kind !== 'full' ? [describeGap(path, known.gap)] : [],
  };
}

/** Whether a sender should prove more of what did not change, because it is not certain what the target holds. */
export function wantsCloserLook(header: StreamHeader | null, { holds, isStale }: KnownState): boolean {
  return !isOverwriting(header) && (isStale || isDoubtful(holds));
}

/** The error of a volume that does not fit into a target; null where it does. */
export function whyTooSmall(header: StreamHeader | null, target: SizedTarget): UnsafeTargetError | null {
  if (header === null || header.volumeSize <= target.size) return null;
  return new UnsafeTargetError(target.path, describeTooSmall(target, 'the volume', header.volumeSize));
}

/** Why the target is not what the stream starts from, or too small for it. */
function whyNotState(
  header: StreamHeader | null,
  change: StateChange | null,
  { forceBase }: ApplyPolicy,
  { path, size, isFile, known: { holds }, sample, undo, isTakenBack }: ApplyFacts,
): LvmsyncError[] {
  const untouched = isTakenBack ? 'nothing else was written' : 'nothing was written';
  const tooSmall = whyTooSmall(header, { path, size, isFile });
  if (tooSmall !== null) return [tooSmall];
  if (forceBase) return [];
  const refusal =
    change === null
      ? whyNotUnnamedBase(path, holds)
      : (whyNotBase(path, change, { state: holds, sample }, untouched) ??
        (change.kind === 'undo' ? whyNotUndo(path, change, { state: holds, ...undo }, untouched) : null));
  return refusal === null ? [] : [refusal];
}
