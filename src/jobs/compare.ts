import { ChunkSet } from '../bytes/chunk-set.js';
import { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { FarError } from '../errors.js';
import { silentProgress, type Surroundings } from '../host/surroundings.js';
import { startFarSide, type Reach } from '../reach/far-side.js';
import { startLocalFarSide } from '../reach/local-far-side.js';
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
  if (target.kind === 'remote') {
    const far = await startFarSide(target, reach, answerWords(target.path), env);
    return await runHashExchange(far, comparison, env);
  }
  const { far, outcome } = startLocalFarSide((line) => answer(line, target.path, env));
  try {
    return await runHashExchange(far, comparison, env);
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
  source: Pick<ChangeSource, 'name' | 'data' | 'paths'>,
  { spec, policy }: { readonly spec: TargetSpec; readonly policy: ApplyPolicy },
  reach: Reach,
  env: Surroundings,
): Promise<void> {
  const { size } = source.data;
  const nothing: ChangeSource = {
    ...source,
    ...{ origin: source.name, base: null, result: null, scope: 'compared', volumeSize: size },
    ...{ baseVolume: null, unchangedVolume: null, isBaseReadOnly: false, live: false },
    readChanges: () => Promise.resolve(new ChangeSet(COMPARE_UNIT, size, size, new ChunkSet())),
    dataProof: () => Promise.resolve(null),
    checkValid: () => Promise.resolve(),
    isConsistent: () => Promise.resolve(true),
    close: () => Promise.resolve(),
  };
  // Without a snapback: the real stream begins that. The journal of an empty transfer needs no space.
  const destination = { kind: 'target', spec, policy: { ...policy, snapback: null } } as const;
  const sending = { destination, protocol: 4, reach, how: { proofs: false } } as const;
  await send(nothing, sending, { ...env, progress: silentProgress });
}
