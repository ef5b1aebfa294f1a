import { BufferPool } from '../device/aligned-memory.js';
import type { Extent } from '../extent.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { Applier } from '../target/applier.js';
import type { ApplyPolicy } from '../target/apply-policy.js';
import { isRecordedResult, mustBeProved } from '../target/apply-states.js';
import type { FoundContents } from '../target/run-prover.js';
import type { Journal } from '../target/journal.js';
import type { OpenTarget } from '../target/open-target.js';
import type { TargetState } from '../target/state-record.js';
import { Wants } from '../target/wants.js';

/** What the old bytes of a batch may take, beside the new ones. */
const OLD_BYTES_MEMORY = 12 * 1024 * 1024;

/** What a stream is applied to, and what becomes of proofs that fail. */
export interface ApplierWish {
  readonly target: OpenTarget;
  readonly policy: ApplyPolicy;
  /** Whether the sender hears what we say; a pipe's does not, so that the first failed proof must stop. */
  readonly isSession: boolean;
  /** Asks the sender for an extent whole, where it hears what we say. */
  readonly want?: (extent: Extent) => Promise<void>;
}

export function makeApplier(
  { target, policy, isSession }: ApplierWish,
  header: StreamHeader | null,
  journal: Journal | null,
  wants: Wants | null,
  before: TargetState | null,
  foundBefore: FoundContents = { mismatches: 0, doubts: 0 },
): Applier {
  return new Applier(target.device, {
    ...(journal === null ? {} : { log: journal.log }),
    ...(wants === null ? {} : { wants }),
    lendOld: new BufferPool(OLD_BYTES_MEMORY).lend,
    stopOnMismatch: (policy.stopOnMismatch || !isSession) && !policy.forceBase,
    foundBefore,
    mustBeProved: mustBeProved(before),
    expectsNew: isRecordedResult(header, before),
  });
}

/** What a sender that hears us can be asked for. */
export function wantsOf(header: StreamHeader | null, { want }: ApplierWish): Wants | null {
  return header === null || want === undefined ? null : new Wants(header.volumeSize, want, header.unit);
}
