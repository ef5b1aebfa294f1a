import type { ReceiveSummary } from '../apply/receive-summary.js';
import type { TargetOfStream } from '../apply/check-target.js';
import { applyIncoming, openStreamFor, planIncoming } from '../apply/receive-stream.js';
import {
  describeRecoverPlan,
  recoverTarget,
  type RecoverOptions,
  type RecoverOutcome,
} from '../apply/recover.js';
import { findUnfinished } from '../apply/unfinished-apply.js';
import { openArchive } from '../archive/archive.js';
import { describeSteps } from '../apply/plans/plan-run.js';
import type { ByteSource } from '../bytes/byte-channel.js';
import { proveBase } from '../chain/prove-base.js';
import { DeviceError, isErrno } from '../errors.js';
import { stateDirOf, type Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { RECEIVE_MEMORY } from '../memory/budgets.js';
import { runReceiver, type OpenForRun, type ReceiveOutcome, type ReceiverLine } from '../session/receiver.js';
import type { IncomingStream } from '../stream/incoming-stream.js';
import type { AllowedTargets } from '../targets/allowed-targets.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import type { ProveBase } from '../targets/base-check.js';
import { openOrCreateTarget } from '../targets/create-target.js';
import { openTarget, type OpenTarget, type OpenTargetOptions } from '../targets/open-target.js';
import { tellLarger } from '../transport/target-spec.js';

/** What an apply did. */
export interface ApplySummary extends ReceiveSummary {
  readonly seconds: number;
}

/** A stream in a file or a pipe. */
export interface NamedStream {
  readonly source: ByteSource;
  /** For messages. */
  readonly name: string;
  /** Its file, if it can be read again: then everything that an undo overwrites can be proved first. */
  readonly file: string | null;
}

/** A target of this host, and how it is written. */
export interface TargetHere {
  readonly path: string;
  readonly policy: ApplyPolicy;
}

/** Applies a stream of either protocol from a file or a pipe to a target of this host. */
export async function apply(
  { source, name: what, file }: NamedStream,
  { path: targetPath, policy }: TargetHere,
  env: Surroundings,
): Promise<ApplySummary> {
  const started = env.clock();
  const target = await openTargetFor(targetPath, policy, FOR_NO_RUN, env);
  try {
    const { lend } = new BufferPool(RECEIVE_MEMORY);
    const again = file === null ? {} : { proveBase: proveFrom(file, env), resultOf: () => resultIn(file) };
    const options = { what, target, policy, isSession: false, ...again };
    const incoming = await openStreamFor(target, { source, what }, env, lend);
    const summary = policy.dryRun
      ? await planned(incoming, options, env)
      : await applyIncoming(incoming, options, env);
    tellLarger(targetPath, summary.targetSize, summary.volumeSize, env);
    return { ...summary, seconds: (env.clock() - started) / 1000 };
  } finally {
    await target.close();
  }
}

/** Reads and checks a stream, and writes nothing. Throws what applying it would be refused for. */
export async function planned(
  incoming: IncomingStream,
  options: TargetOfStream,
  env: Surroundings,
): Promise<ReceiveSummary> {
  const { plan, summary } = await planIncoming(incoming, options, env);
  for (const line of describeSteps(options.target.device.path, plan)) env.notice(line);
  const [refusal] = plan.refusals;
  if (refusal !== undefined) throw refusal;
  return summary;
}

/** Holds a target against what an undo in a file says of its base. */
function proveFrom(file: string, { signal }: Surroundings): ProveBase {
  return async (device) => await proveBase(device, [await openArchive(file)], signal);
}

/** The name of an archive's result; null if it has no name, also if its end takes back the name in its header. */
async function resultIn(file: string): Promise<string | null> {
  return (await openArchive(file)).result;
}

/** Runs the far side of a session for a target of this host, which must be one of `allowed`, if that is given. */
export function receive(
  line: ReceiverLine,
  { path, policy }: TargetHere,
  env: Surroundings,
  allowed: AllowedTargets | null = null,
): Promise<ReceiveOutcome> {
  const open: OpenForRun = (run, volumeSize) =>
    openTargetFor(path, policy, { sources: [], run, allowed, volumeSize }, env);
  return runReceiver(line, open, policy, env);
}

/**
 * Takes a target back to what it held before an apply that did not end, or reports that the apply had finished. Throws
 * BaseMismatchError if someone else wrote to the target since, and what opening a target throws.
 */
export async function recover(
  path: string,
  stateDir: string | null,
  options: RecoverOptions,
  env: Surroundings,
): Promise<RecoverOutcome> {
  const target = await openToRecover(path, stateDir, env);
  return await recoverTarget(target, env, options).finally(() => target.close());
}

/** Says what `recover` would do, in words, and writes nothing. Throws what it would be refused for. */
export async function planRecover(
  path: string,
  stateDir: string | null,
  { evenIfChanged = false }: RecoverOptions,
  env: Surroundings,
): Promise<string> {
  const target = await openToRecover(path, stateDir, env);
  try {
    const plan = await findUnfinished(target, { evenIfChanged, next: null }, env);
    const [refusal] = plan.refusals;
    if (refusal !== undefined) throw refusal;
    return describeRecoverPlan(target, plan);
  } finally {
    await target.close();
  }
}

function openToRecover(path: string, stateDir: string | null, env: Surroundings): Promise<OpenTarget> {
  const what = `recover ${path}`;
  return openTarget(path, { stateDir: stateDirOf(stateDir, env), what, sources: [], allowed: null }, env);
}

/** What a target is opened for. */
interface Purpose extends Pick<OpenTargetOptions, 'sources' | 'run' | 'allowed'> {
  /** The size in bytes of a target that has to be created; null if it is not known. */
  readonly volumeSize?: number | null;
}

/** For no sender's run, and for any target. */
export const FOR_NO_RUN: Purpose = { sources: [], run: null, allowed: null };

/** Opens a target of this host to apply a stream to it. Throws as `openTarget`. */
export function openTargetFor(
  path: string,
  { stateDir, create }: ApplyPolicy,
  { volumeSize = null, ...purpose }: Purpose,
  env: Surroundings,
): Promise<OpenTarget> {
  const opening = { stateDir: stateDirOf(stateDir, env), what: `apply to ${path}`, ...purpose };
  if (create !== null && volumeSize !== null && purpose.allowed === null) {
    return openOrCreateTarget({ path, size: volumeSize, create }, opening, env);
  }
  return openTarget(path, opening, env).catch((error: unknown) => {
    throw adviseWhereMissing(error, path);
  });
}

/** Adds advice if the target does not exist: a user of cp or rsync may expect that it is created. */
function adviseWhereMissing(error: unknown, path: string): unknown {
  if (!(error instanceof DeviceError) || error.path !== path) return error;
  if (!isErrno(error.cause, 'ENOENT')) return error;
  const advice =
    'a transfer does not create targets: create a volume of the size of the source, or use "lvmsync copy --create"';
  return new DeviceError(path, 'stat', null, `ENOENT: no such file or directory; ${advice}`);
}
