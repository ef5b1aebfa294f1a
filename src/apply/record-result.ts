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

/** An audit that comes in: from its begin on each section that fails is of what did not change, and so is what comes whole. */
export class ReceivedAudit {
  private constructor(
    readonly extent: Extent,
    private readonly before: Found,
    private readonly now: Readonly<Found>,
  ) {}

  /** Once all before it has been proved. Throws what the applier does. */
  static async begin({ offset, length }: Extent, applier: Applier): Promise<ReceivedAudit> {
    await applier.finish();
    const { mismatches, failures } = applier;
    return new ReceivedAudit({ offset, length }, { mismatches, failures }, applier);
  }

  /** What failed of the changes, and what of the audit. */
  findings(): Pick<RunFindings, 'failures' | 'strays'> {
    const { before, now } = this;
    const leastStrays = now.failures > before.failures ? 1 : 0;
    return { failures: before.failures, strays: Math.max(now.mismatches - before.mismatches, leastStrays) };
  }
}

/** What a stream brought, in words after "by". */
function describeOrigin({ kind, names, host }: StreamHeader): string {
  const what = { changes: 'changes', undo: 'an undo', full: 'a copy' }[kind];
  return `${what}${names.source === undefined ? '' : ` from ${names.source}`} of ${host}`;
}

/** What was applied. */
export interface AppliedStream {
  readonly header: StreamHeader | null;
  /** What was known of the target until then. */
  readonly before: TargetState | null;
  /** Whether it does not lead to the state that its header names. */
  readonly isNameless: boolean;
  readonly blocks: number;
  readonly found: RunFindings;
  /** Of its undo, where it leads to a state without a name. */
  readonly mark: string | null;
}

/** What is known of a target afterwards. */
export interface RecordedResult {
  readonly state: TargetState | null;
  /** Why what else it holds is in doubt, by what this run found or an earlier one; or null. */
  readonly suspicion: string | null;
}

/**
 * Records what a target holds that a stream was applied to, to its end and on stable storage, and returns it. Where that
 * cannot be done the target is right all the same, which a notice says, and nothing is recorded.
 */
export async function recordResult(
  target: OpenTarget,
  applied: AppliedStream,
  { notice }: Pick<Surroundings, 'notice'>,
): Promise<RecordedResult> {
  try {
    return await writeResult(target, applied);
  } catch (error) {
    // What it says by now is true of a target that is written in part.
    await target.record.remove().catch(() => undefined);
    const problem = `all of it is written, but that could not be recorded (${describeCause(error)})`;
    notice(`${target.device.path}: ${problem}: the next run checks its contents instead`);
    const { header, before, found } = applied;
    return { state: null, suspicion: suspicionAfter(header, before, found, null) };
  }
}

async function writeResult(
  target: OpenTarget,
  { header, before, isNameless, blocks, found, mark }: AppliedStream,
): Promise<RecordedResult> {
  const { base = null, run = null } = header ?? {};
  const result = isNameless ? null : (header?.result ?? null);
  const record = (await target.moveRecord?.()) ?? target.record;
  // A stream that only wanted to know whether the target is fit changes nothing of what is known of it.
  if (blocks === 0 && base === null && result === null) {
    await record.putBack();
    return { state: before, suspicion: await record.suspicion() };
  }
  if (header !== null) await noteVolumeSize(target.folder, header.volumeSize, target.device.size);
  const suspicion = suspicionAfter(header, before, found, await record.suspicion());
  // Before the record, which would call the target sure without it.
  if (suspicion !== null) await record.suspect(suspicion);
  const state = header === null ? null : stateAfter({ ...header, result }, before, found, suspicion, mark);
  await record.write(state, run, null, header === null ? null : describeOrigin(header));
  // What a copy, a scan or an audit that came around has made sure of is no longer in doubt.
  const isSeen = header?.kind === 'full' || (state !== null && state.believed === undefined);
  if (isSeen) await record.suspect(null);
  return { state, suspicion: isSeen ? null : suspicion };
}
