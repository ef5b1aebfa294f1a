import type { ByteSink } from '../bytes/byte-channel.js';
import type { ChangeSource } from '../changes/change-source.js';
import { FarError } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { SEND_MEMORY } from '../memory/budgets.js';
import { prepareFarSide, startFarSide, type Reach } from '../reach/far-side.js';
import { withRetries } from '../reach/retry.js';
import { packerFor, tellPacking } from '../send/choose-packer.js';
import { pipeTo, sendChanges, type SendOptions } from '../send/send-changes.js';
import { askPlan } from '../session/ask-plan.js';
import type { PlanMessage } from '../session/messages.js';
import { pacedSink, runSender, SenderRun, type FarSide, type SessionSummary } from '../session/sender.js';
import { openSource, type SourceSpec } from '../sources/open-source.js';
import { FrameWriter } from '../stream/frame-writer.js';
import { Proto3Writer } from '../stream/proto3.js';
import { policyWords, type ApplyPolicy } from '../targets/apply-policy.js';
import { applyWords, receiveWords } from '../transport/remote-command.js';
import { type TargetSpec, nameOfTarget, tellLarger } from '../transport/target-spec.js';
import type { PlannedTransfer } from './send-locally.js';

export type Protocol = 3 | 4;

/** The destination of a stream: a target, through a session; or a pipe, as it is. */
export type Destination =
  | { readonly kind: 'pipe'; readonly sink: ByteSink }
  | { readonly kind: 'target'; readonly spec: TargetSpec; readonly policy: ApplyPolicy };

/** How another host is reached, and how blocks are sent to it. */
export interface Route {
  readonly reach: Reach;
  readonly how: SendOptions;
}

/** Where changes are sent, and how. */
export interface Sending extends Route {
  readonly destination: Destination;
  readonly protocol: Protocol;
}

/** What a transfer did. Bytes and seconds. */
export interface TransferSummary extends SessionSummary {
  readonly seconds: number;
  readonly source: string;
  /** What the transfer would have done; only of a dry run. */
  readonly plan?: PlanMessage;
}

/**
 * Sends a snapshot's changes to their destination. Returns when the receiver has reported that they are on stable
 * storage; to a pipe, when the last byte has left.
 */
export async function transfer(
  spec: SourceSpec,
  sending: Sending,
  env: Surroundings,
): Promise<TransferSummary> {
  const started = env.clock();
  const { destination, reach } = sending;
  if (destination.kind === 'target' && destination.spec.kind === 'remote') prepareFarSide(reach);
  const source = await openSource(env, spec);
  const { facts, volumes, watch } = source;
  env.detail(
    `${facts.name}: changes of ${facts.origin} (${facts.volumeSize} bytes); new bytes are read from ` +
      `${volumes.data.path}${facts.live ? ', which may change during the run' : ''}`,
  );
  try {
    const summary = await send(source, sending, env);
    if (destination.kind === 'target')
      tellLarger(nameOfTarget(destination.spec), summary.targetSize, summary.volumeSize, env);
    return { ...summary, seconds: (env.clock() - started) / 1000, source: facts.name };
  } finally {
    await watch.close();
  }
}

/** Sends the changes of any source, in the way that the destination needs. */
export async function send(
  source: ChangeSource,
  { destination, protocol, reach, how }: Sending,
  env: Surroundings,
): Promise<SessionSummary> {
  if (destination.kind === 'pipe') {
    return await sendToPipe(source, { sink: destination.sink, protocol }, how, env);
  }
  const { spec, policy } = destination;
  if (policy.dryRun) {
    const { summary, refusal } = await planTransfer(source, { spec, policy, reach, how }, env);
    const { describeSteps } = await import('../apply/plans/plan-run.js');
    for (const line of describeSteps(nameOfTarget(spec), summary.plan)) env.notice(line);
    if (refusal !== null) throw refusal;
    return summary;
  }
  if (spec.kind === 'local') {
    // The code that writes a target is loaded only if it is needed: at a sender, the time would be downtime.
    const { sendToLocalTarget } = await import('./send-locally.js');
    return await sendToLocalTarget(source, { path: spec.path, policy }, how, env);
  }
  const remote = { spec, policy, reach, how };
  return protocol === 3
    ? await sendToRubyTool(source, remote, env)
    : await sendToReceiver(source, remote, env);
}

/** A target, and the way to it. */
interface RoutedTarget<Spec extends TargetSpec> extends Route {
  readonly spec: Spec;
  readonly policy: ApplyPolicy;
}

type RemoteTarget = RoutedTarget<Extract<TargetSpec, { kind: 'remote' }>>;

/** Asks what a transfer would do, and writes nothing. Throws if the target cannot be asked. */
export async function planTransfer(
  source: ChangeSource,
  { spec, policy, reach, how }: RoutedTarget<TargetSpec>,
  env: Surroundings,
): Promise<PlannedTransfer> {
  if (spec.kind === 'local') {
    const { planLocally } = await import('./send-locally.js');
    return await planLocally(source, { path: spec.path, policy }, how, env);
  }
  const words = receiveWords(spec.path, policyWords(policy));
  const far = await orInterrupted(startFarSide(spec, reach, words, env), env.signal);
  const summary = await askPlan(far, source, how, env);
  const [refusal] = summary.plan.refusals;
  const { host } = far.transport;
  return {
    summary,
    refusal: refusal === undefined ? null : new FarError(refusal.code, host, refusal.message),
  };
}

async function sendToReceiver(
  source: ChangeSource,
  { spec, policy, reach, how }: RemoteTarget,
  env: Surroundings,
): Promise<SessionSummary> {
  const words = receiveWords(spec.path, policyWords(policy));
  const run = new SenderRun();
  return await withRetries(reach.retries, run, env, async () => {
    const far = await orInterrupted(startFarSide(spec, reach, words, env), env.signal);
    return await runSender({ ...far, run }, source, how, env);
  });
}

/** A pipe, and what its reader understands. */
interface Pipe {
  readonly sink: ByteSink;
  readonly protocol: Protocol;
}

async function sendToPipe(
  source: ChangeSource,
  { sink, protocol }: Pipe,
  how: SendOptions,
  env: Surroundings,
): Promise<SessionSummary> {
  const paced = pacedSink(sink, how, env);
  const writer = protocol === 3 ? new Proto3Writer(paced) : new FrameWriter(paced, { indexed: true });
  // The reader cannot be asked which codecs it has: unless the user chose one, nothing is compressed.
  const packer = how.compression?.kind === 'codec' ? await packerFor(how.compression, env) : null;
  const { lend } = new BufferPool(SEND_MEMORY);
  const summary = await sendChanges(source, pipeTo(writer, packer), how, { ...env, lend });
  const sentBytes = writer.bytesWritten;
  const unheard = { mismatches: null, suspect: null, verified: null, targetSize: null };
  return { ...summary, ...unheard, sentBytes, codec: tellPacking(packer, env) };
}

/** The far side is a Ruby lvmsync: it only returns an exit status, which takes the place of the report. */
async function sendToRubyTool(
  source: ChangeSource,
  { spec, policy, reach, how }: RemoteTarget,
  env: Surroundings,
): Promise<SessionSummary> {
  const far = await startFarSide(spec, reach, applyWords(spec.path, policy.snapback), env);
  const { transport } = far;
  try {
    const summary = await sendToPipe(source, { sink: transport.output, protocol: 3 }, how, env);
    await checkExit(far);
    return summary;
  } finally {
    await transport.destroy();
  }
}

async function checkExit({ transport, explainEnd }: FarSide): Promise<void> {
  const exit = await transport.exit;
  if (exit.status !== 0) throw await explainEnd(exit);
}
