import type { Extent } from '../bytes/extent.js';
import type { Applier } from '../engine/applier.js';
import { describeCause } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { StreamHeader } from '../stream/stream-header.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { TargetState } from '../targets/state-record.js';
import { noteVolumeSize } from '../targets/target-key.js';
import { type RunFindings, stateAfter, suspicionAfter } from './apply-states.js';

type Found = Pick<Applier, 'mismatches' | 'failures'>;

/**
 * An incoming audit. From its beginning on, each section that fails is outside the changes, and so is each block that
 * comes in full.
 */
export class ReceivedAudit {
  private constructor(
    readonly extent: Extent,
    private readonly before: Found,
    private readonly now: Readonly<Found>,
  ) {}

  /** Begins once everything before it is proved. Throws what the applier throws. */
  static async begin({ offset, length }: Extent, applier: Applier): Promise<ReceivedAudit> {
    await applier.finish();
    const { mismatches, failures } = applier;
    return new ReceivedAudit({ offset, length }, { mismatches, failures }, applier);
  }

  /** What failed among the changes, and what failed in the audit. */
  findings(): Pick<RunFindings, 'failures' | 'strays'> {
    const { before, now } = this;
    const leastStrays = now.failures > before.failures ? 1 : 0;
    return { failures: before.failures, strays: Math.max(now.mismatches - before.mismatches, leastStrays) };
  }
}

/** Where the contents came from, in words after "by". */
function describeOrigin({ kind, compared, names, host }: StreamHeader): string {
  const { source } = names;
  if (compared === true) return `a comparison with ${source ?? 'a volume'} of ${host}`;
  const what = { changes: 'changes', undo: 'an undo', full: 'a copy' }[kind];
  return `${what}${source === undefined ? '' : ` from ${source}`} of ${host}`;
}

/** A stream that was applied. */
export interface AppliedStream {
  readonly header: StreamHeader | null;
  /** What was known about the target before. */
  readonly before: TargetState | null;
  /** Whether its result is not the state that its header names. */
  readonly isNameless: boolean;
  readonly blocks: number;
  readonly found: RunFindings;
  /** The mark of its undo, if its result has no name. */
  readonly mark: string | null;
}

/** What is known about a target after an apply. */
export interface RecordedResult {
  readonly state: TargetState | null;
  /** Why the rest of the target is in doubt, as found by this run or an earlier one; or null. */
  readonly suspicion: string | null;
}

/**
 * Records what a target holds after a complete apply that is on stable storage, and returns it. If it cannot be
 * recorded, the target is still right: a notice says so, and nothing is recorded.
 */
export async function recordResult(
  target: OpenTarget,
  applied: AppliedStream,
  { notice }: Pick<Surroundings, 'notice'>,
): Promise<RecordedResult> {
  try {
    return await writeResult(target, applied);
  } catch (error) {
    // The record still says that an apply is running.
    await target.record.remove().catch(() => undefined);
    const problem = `all of it is written, but that could not be recorded (${describeCause(error)})`;
    notice(`${target.device.path}: ${problem}: the next run checks its contents instead`);
    const { header, before, found } = applied;
    // What an earlier run found is still in doubt, and still said.
    const earlier = await target.record.suspicion().catch(describeCause);
    return { state: null, suspicion: suspicionAfter(header, before, found, earlier) };
  }
}

async function writeResult(
  target: OpenTarget,
  { header, before, isNameless, blocks, found, mark }: AppliedStream,
): Promise<RecordedResult> {
  const { base = null, run = null } = header ?? {};
  const result = isNameless ? null : (header?.result ?? null);
  const record = (await target.moveRecord?.()) ?? target.record;
  // A stream that only asked whether the target is suitable does not change what is known about it.
  if (blocks === 0 && base === null && result === null) {
    await record.putBack();
    return { state: before, suspicion: await record.suspicion() };
  }
  if (header !== null) await noteVolumeSize(target.folder, header.volumeSize, target.device.size);
  const suspicion = suspicionAfter(header, before, found, await record.suspicion());
  // Written before the record, which alone would say that the state is sure.
  if (suspicion !== null) await record.suspect(suspicion);
  const state =
    header === null ? null : stateAfter({ ...header, result }, before, found, { suspicion, mark });
  await record.write(state, run, null, header === null ? null : describeOrigin(header));
  // After a copy, a scan or a complete round of audits, the target is no longer in doubt.
  const isSeen = header?.kind === 'full' || (state !== null && state.believed === undefined);
  if (isSeen) await record.suspect(null);
  return { state, suspicion: isSeen ? null : suspicion };
}
