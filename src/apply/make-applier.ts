import type { Extent } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { Applier } from '../engine/applier.js';
import type { FoundContents } from '../engine/run-prover.js';
import { Wants } from '../engine/wants.js';
import type { Journal } from '../journal/journal.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { OLD_BYTES_MEMORY } from '../memory/budgets.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { StreamHeader } from '../stream/stream-header.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { TargetState } from '../targets/state-record.js';
import { formerName, isRecordedResult, mustBeProved } from './apply-states.js';

/**
 * The header of the undo of an apply, which leads from the applied stream's result back to what was recorded `before`.
 *
 * @param writer with the mark of the state that it leads back from, if that has no name
 */
export function undoHeader(
  applied: StreamHeader | null,
  before: TargetState | null,
  target: BlockDevice,
  writer: Pick<StreamHeader, 'host' | 'time' | 'writer' | 'mark'>,
): StreamHeader {
  return {
    kind: 'undo',
    volumeSize: applied?.volumeSize ?? target.size,
    // The blocks of a PROTO[3] stream may be unaligned: whole pages around them are saved.
    blockSize: applied === null ? 4096 : undoUnitOf(applied),
    base: applied?.result ?? null,
    result: formerName(applied, before),
    expectedBytes: applied?.expectedBytes ?? 0,
    names: { source: target.path },
    ...writer,
  };
}

/**
 * The unit in which old bytes are saved: parts of sections are smaller than the unit in which changes are tracked.
 * Bytes.
 */
export function undoUnitOf({ unit, blockSize }: Pick<StreamHeader, 'unit' | 'blockSize'>): number {
  return Math.min(unit ?? blockSize, blockSize, MAX_BLOCK_LENGTH);
}

/** What a stream is applied to, and what to do if a proof fails. */
export interface ApplierWish {
  readonly target: OpenTarget;
  readonly policy: ApplyPolicy;
  /**
   * Whether the sender gets our replies. The sender of a pipe does not, so that the first failed proof must stop the
   * apply.
   */
  readonly isSession: boolean;
  /** Asks the sender for an extent in full, if it gets our replies. */
  readonly want?: (extent: Extent) => Promise<void>;
}

/** What was known of a target before this session, and what earlier sessions of the same apply counted. */
export interface KnownBefore {
  readonly before: TargetState | null;
  readonly foundBefore?: FoundContents;
}

/** An applier, and the extents that it can ask the sender for; null: the sender does not get our replies. */
export interface MadeApplier {
  readonly applier: Applier;
  readonly wants: Wants | null;
}

export function makeApplier(
  { target, policy, isSession, want }: ApplierWish,
  header: StreamHeader | null,
  journal: Journal | null,
  { before, foundBefore = { mismatches: 0, doubts: 0 } }: KnownBefore,
): MadeApplier {
  const wants =
    header === null || want === undefined ? null : new Wants(header.volumeSize, want, header.unit);
  const applier = new Applier(target.device, {
    ...(journal === null ? {} : { log: journal.log }),
    ...(wants === null ? {} : { wants }),
    lendOld: new BufferPool(OLD_BYTES_MEMORY).lend,
    stopOnMismatch: (policy.stopOnMismatch || !isSession) && !policy.forceBase,
    foundBefore,
    mustBeProved: mustBeProved(before),
    expectsNew: isRecordedResult(header, before),
  });
  return { applier, wants };
}
