import { ChunkSet } from '../bytes/chunk-set.js';
import { ChangeSet } from '../changes/change-set.js';
import { FarError } from '../errors.js';
import { silentProgress, type Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { VERIFY_MEMORY } from '../memory/budgets.js';
import { startFarSide, type Reach } from '../reach/far-side.js';
import { startLocalFarSide } from '../reach/local-far-side.js';
import { sourceOfVolume, type NamedVolume } from '../sources/open-whole.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import { answerWords } from '../transport/remote-command.js';
import type { TargetSpec } from '../transport/target-spec.js';
import { answer } from '../verify/answer-queries.js';
import { runHashExchange, type ComparisonRequest, type ComparisonResult } from '../verify/hash-exchange.js';
import { send } from './transfer.js';

/** The granularity of differences, unless something asks for a finer one. Bytes. */
export const COMPARE_UNIT = 4096;

/** Compares a device of this host with a target: both sides hash at the same time. Throws as `runHashExchange`. */
export async function compare(
  comparison: ComparisonRequest,
  target: TargetSpec,
  reach: Reach,
  env: Surroundings,
): Promise<ComparisonResult> {
  const { lend } = new BufferPool(VERIFY_MEMORY);
  if (target.kind === 'remote') {
    const far = await startFarSide(target, reach, answerWords(target.path), env);
    return await runHashExchange(far, comparison, env, lend);
  }
  const { far, outcome } = startLocalFarSide((line) => answer(line, target.path, env));
  try {
    return await runHashExchange(far, comparison, env, lend);
  } catch (error) {
    // The target's side runs in this process: its own error says more than the report that it sent.
    if (error instanceof FarError) throw (await outcome).error ?? error;
    throw error;
  }
}

/**
 * Makes sure that a target may be written, before a comparison that may take hours. If an apply to it was interrupted,
 * the target is taken back first, because the repair will start from what is compared. Writes nothing else. Throws what
 * a transfer to the target throws.
 */
export async function readyTarget(
  volume: Omit<NamedVolume, 'watch'>,
  spec: TargetSpec,
  policy: ApplyPolicy,
  reach: Reach,
  env: Surroundings,
): Promise<void> {
  const { size } = volume.device;
  const watch = {
    dataProof: () => Promise.resolve(null),
    checkValid: () => Promise.resolve(),
    isConsistent: () => Promise.resolve(true),
    close: () => Promise.resolve(),
  };
  const tracking = { granularity: COMPARE_UNIT, trackedSize: size, volumeSize: size };
  const goal = { scope: 'compared', result: null } as const;
  const nothing = sourceOfVolume({ ...volume, watch }, goal, new ChangeSet(tracking, new ChunkSet()));
  // Without a snapback: the real stream begins that. The journal of an empty transfer needs no space.
  const destination = { kind: 'target', spec, policy: { ...policy, snapback: null } } as const;
  await send(nothing, destination, 4, reach, { proofs: false }, { ...env, progress: silentProgress });
}
