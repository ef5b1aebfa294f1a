import { ChunkSet } from '../bytes/chunk-set.js';
import { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { silentProgress, type Surroundings } from '../host/surroundings.js';
import { startFarSide, type Reach } from '../reach/far-side.js';
import { sourceOfVolume, type NamedVolume } from '../sources/open-whole.js';
import { openReadOnly } from '../targets/open-target.js';
import { answerWords } from '../transport/remote-command.js';
import type { TargetSpec } from '../transport/target-spec.js';
import { compareBytes } from '../verify/compare-bytes.js';
import { runHashExchange, type ComparisonRequest, type ComparisonResult } from '../verify/hash-exchange.js';
import { planTransfer, send, type Destination } from './transfer.js';

/** The granularity of differences, unless something asks for a finer one. Bytes. */
export const COMPARE_UNIT = 4096;

/**
 * Compares a device of this host with a target. A target on another host is compared by digests, which both sides compute
 * at the same time. Throws as `runHashExchange` and `compareBytes`.
 */
export async function compare(
  comparison: ComparisonRequest,
  target: TargetSpec,
  reach: Reach,
  env: Surroundings,
): Promise<ComparisonResult> {
  if (target.kind === 'remote') {
    const far = await startFarSide(target, reach, answerWords(target.path), env);
    return await runHashExchange(far, comparison, env);
  }
  const far = await openReadOnly(target.path, null, env);
  try {
    return await compareBytes(comparison, far, env);
  } finally {
    await far.close();
  }
}

/**
 * Makes sure that a target may be written, before a comparison that may take hours: asks what a transfer to it would
 * do. If an apply to it was interrupted, the target is taken back first, because its blocks would look equal now, and be
 * gone when the real transfer begins. Writes nothing else. Throws what a transfer to the target throws.
 */
export async function readyTarget(
  volume: Omit<NamedVolume, 'watch'>,
  { spec, policy }: Extract<Destination, { kind: 'target' }>,
  reach: Reach,
  env: Surroundings,
): Promise<void> {
  const how = { proofs: false };
  const quiet = { ...env, progress: silentProgress };
  const nothing = sourceOfNothing(volume);
  const { summary, refusal } = await planTransfer(nothing, { spec, policy, reach, how }, quiet);
  if (refusal !== null) throw refusal;
  // A dry run compares what is there now.
  if (policy.dryRun || !summary.plan.steps.some((step) => step.do === 'settle')) return;
  // Each apply settles an earlier one. Without a snapback, which the real stream begins.
  const destination = { kind: 'target', spec, policy: { ...policy, snapback: null } } as const;
  await send(nothing, { destination, protocol: 4, reach, how }, quiet);
}

/** What is to be compared, as a change source before anything is known to differ. */
function sourceOfNothing(volume: Omit<NamedVolume, 'watch'>): ChangeSource {
  const { size } = volume.device;
  const watch = {
    dataProof: () => Promise.resolve(null),
    checkValid: () => Promise.resolve(),
    isConsistent: () => Promise.resolve(true),
    close: () => Promise.resolve(),
  };
  const tracking = { granularity: COMPARE_UNIT, trackedSize: size, volumeSize: size };
  const goal = { scope: 'compared', result: null } as const;
  return sourceOfVolume({ ...volume, watch }, goal, new ChangeSet(tracking, new ChunkSet()));
}
