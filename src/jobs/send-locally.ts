import type { ChangeSource } from '../changes/change-source.js';
import { FarError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { startLocalReceiver, type LocalFarSide } from '../reach/local-far-side.js';
import { NO_COMPRESSION } from '../send/choose-packer.js';
import type { SendOptions } from '../send/send-changes.js';
import { askPlan, type PlannedSummary } from '../session/ask-plan.js';
import type { OpenForRun, ReceiveOutcome } from '../session/receiver.js';
import { runSender, type SessionSummary } from '../session/sender.js';
import { DirectStream } from '../session/direct-stream.js';
import { stackOf } from '../usage/guard.js';
import { openTargetFor, type TargetHere } from './apply.js';

/** What a transfer would do, and why it would be refused; null: it would not. */
export interface PlannedTransfer {
  readonly summary: PlannedSummary;
  readonly refusal: Error | null;
}

/** Sends a source's changes to a target of this host: both sides of the session are in this process. */
export async function sendToLocalTarget(
  source: ChangeSource,
  target: TargetHere,
  how: SendOptions,
  env: Surroundings,
): Promise<SessionSummary> {
  // Between two ends of this process nothing is saved by fewer bytes.
  const asTheyAre = { ...how, compression: NO_COMPRESSION };
  // A limited rate is one of bytes on a line.
  const direct = how.bytesPerSecond === undefined ? new DirectStream() : undefined;
  const send = ({ far }: LocalFarSide<ReceiveOutcome>) => runSender(far, source, asTheyAre, env);
  return await withReceiver(source, { ...target, direct }, env, send);
}

/** Asks what that would do, and writes nothing. Throws if the target cannot be asked. */
export async function planLocally(
  source: ChangeSource,
  target: TargetHere,
  how: SendOptions,
  env: Surroundings,
): Promise<PlannedTransfer> {
  return await withReceiver(source, target, env, async ({ far, outcome }) => {
    const summary = await askPlan(far, source, how, env);
    // The target's side runs in this process: its own error says more than the one that it sent.
    const [refusal = null] = (await outcome).plan?.refusals ?? [];
    return { summary, refusal };
  });
}

async function withReceiver<T>(
  source: ChangeSource,
  { path, policy, direct }: TargetHere & { readonly direct?: DirectStream | undefined },
  env: Surroundings,
  talk: (receiver: LocalFarSide<ReceiveOutcome>) => Promise<T>,
): Promise<T> {
  const sources = [{ name: source.facts.name, ...(await stackOf(source.facts.paths)) }];
  const open: OpenForRun = (run, volumeSize) =>
    openTargetFor(path, policy, { sources, run, allowed: null, volumeSize }, env);
  const receiver = startLocalReceiver(open, policy, env, direct);
  try {
    return await talk(receiver);
  } catch (error) {
    // The target's side runs in this process: its own error says more than the report that it sent.
    if (error instanceof FarError) throw (await receiver.outcome).error ?? error;
    throw error;
  }
}
