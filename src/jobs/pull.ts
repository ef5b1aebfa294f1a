import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import { startFarSide } from '../reach/far-side.js';
import { withRetries } from '../reach/retry.js';
import type { SendOptions } from '../send/send-changes.js';
import { askPlan } from '../session/ask-plan.js';
import { runPulledSender, type PulledOutcome, type SenderLine } from '../session/pulled-sender.js';
import { PullerRun, runPuller } from '../session/puller.js';
import { runSender, type FarSide } from '../session/sender.js';
import { openSource, type SourceSpec } from '../sources/open-source.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import type { OpenTarget } from '../targets/open-target.js';
import { sendWords } from '../transport/remote-command.js';
import { type RemoteHost, tellLarger } from '../transport/target-spec.js';
import { FOR_NO_RUN, openTargetFor, type TargetHere } from './apply.js';
import type { Route, TransferSummary } from './transfer.js';

/** What the receiver of a pull asks a sender for. */
export interface SendRequest {
  readonly spec: SourceSpec;
  readonly how: SendOptions;
  readonly dryRun: boolean;
}

/** The source of a pull. */
export interface PullSpec {
  readonly host: RemoteHost;
  /** A snapshot of that host, by a name that is valid there. */
  readonly snapshot: string;
  /** The device there that the new bytes are read from; null for the snapshot's origin. */
  readonly dataSource: string | null;
  /** Whether the user declares that no process there writes to that device. */
  readonly isQuiesced: boolean;
}

/**
 * Brings a snapshot's changes from another host into a target of this host: a transfer that the receiver starts.
 * Returns when everything is on stable storage here, and the far sender has confirmed that it was everything.
 */
export async function pull(
  spec: PullSpec,
  { path: targetPath, policy }: TargetHere,
  route: Route,
  env: Surroundings,
): Promise<TransferSummary> {
  const started = env.clock();
  const openNow = () => openTargetFor(targetPath, policy, FOR_NO_RUN, env);
  // Open the target first: if it must not be written, the sender need not start.
  const waiting: OpenTarget[] = [await openNow()];
  const takeTarget = async () => waiting.pop() ?? (await openNow());
  const run = new PullerRun();
  try {
    const summary = await withRetries(route.reach.retries, run, env, async () => {
      const far = await startSender(spec, policy, route, env);
      return await runPuller({ ...far, run }, takeTarget, policy, env);
    });
    tellLarger(targetPath, summary.targetSize, summary.volumeSize, env);
    return { ...summary, seconds: (env.clock() - started) / 1000, source: spec.snapshot };
  } finally {
    // If no stream began, the target is still here, and open.
    await waiting.pop()?.close();
  }
}

async function startSender(
  { host, snapshot, dataSource, isQuiesced }: PullSpec,
  { dryRun }: ApplyPolicy,
  { reach, how }: Route,
  env: Surroundings,
): Promise<FarSide> {
  const options = [
    ...(dataSource === null ? [] : ['--data-source', dataSource]),
    ...(isQuiesced ? ['--quiesced'] : []),
    ...(how.proofs ? [] : ['--whole-chunks']),
    ...(how.blockSize === undefined ? [] : ['--block-size', `${how.blockSize}`]),
    ...(dryRun ? ['--dry-run'] : []),
    ...(how.audit == null ? [] : ['--audit', `${how.audit}`]),
    ...trafficWords(how),
  ];
  return await orInterrupted(startFarSide(host, reach, sendWords(snapshot, options), env), env.signal);
}

/** The options for the far sender that say how to send blocks. */
function trafficWords({ compression, bytesPerSecond }: SendOptions): string[] {
  const words: string[] = [];
  if (compression?.kind === 'none') words.push('--codec', 'none');
  if (compression?.kind === 'codec') {
    const { name, level } = compression;
    words.push('--codec', level === null ? name : `${name}:${level}`);
  }
  if (bytesPerSecond !== undefined) words.push('--bwlimit', `${bytesPerSecond}B`);
  return words;
}

/** Runs the far side of a pull, for a source of this host. */
export function sendPulled(
  line: SenderLine,
  { spec, how, dryRun }: SendRequest,
  env: Surroundings,
): Promise<PulledOutcome> {
  const open = () => openSource(env, spec);
  const talk = dryRun ? askPlan : runSender;
  return runPulledSender(line, open, (far, source) => talk(far, source, how, env));
}
