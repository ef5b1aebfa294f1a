import type { ReceiveSummary } from '../apply/receive-summary.js';
import { describeSteps } from '../apply/plans/plan-run.js';
import { countOf } from '../bytes/amounts.js';
import { FarError, LineError, TransportError, TruncatedStreamError } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import type { OpenTarget } from '../targets/open-target.js';
import { LineProgress } from './line-silence.js';
import type { LastWord } from './messages.js';
import { PulledStream } from './pulled-stream.js';
import { runReceiver } from './receiver.js';
import { SESSION_LIMITS, within, type FarSide, type FarSideOf, type SessionSummary } from './sender.js';

/** One run of a puller, over all of its lines. */
export class PullerRun extends LineProgress {
  /** How many bytes came over all of its lines. */
  receivedBytes = 0;
}

/**
 * Applies the changes that a far sender sends to a target on this host. Returns when everything is on stable storage
 * here and the sender has confirmed that this is all.
 *
 * Throws FarError if the sender failed, FarSideError if there is no lvmsync, TransportError if the line broke or the
 * sender ended without its last word; else what `receiveStream` throws. When it returns or throws, the far side has
 * ended or is cut off.
 */
export async function runPuller(
  far: FarSideOf<PullerRun>,
  open: () => Promise<OpenTarget>,
  policy: ApplyPolicy,
  env: Surroundings,
): Promise<SessionSummary> {
  const { transport, run = new PullerRun(), limits = SESSION_LIMITS } = far;
  const pulled = new PulledStream(transport.input, transport.host, limits.helloMs);
  const what = `stream from ${transport.host}`;
  const line = { input: pulled.stream, output: transport.output, what, progress: run };
  try {
    const { summary, plan, error } = await runReceiver(line, open, policy, env);
    if (error !== null) throw await explainFailure(error, far, pulled);
    for (const notice of plan === null ? [] : describeSteps(plan.path, plan)) env.notice(notice);
    const [refusal] = plan?.refusals ?? [];
    if (refusal !== undefined) throw refusal;
    const word = await orInterrupted(within(limits.helloMs, pulled.lastWord()), env.signal);
    const sent = checkAgreed(word, summary, transport.host);
    // The far side may still print something to stderr. That does not change the result.
    await within(limits.farewellMs, transport.exit);
    const sentBytes = run.receivedBytes + pulled.bytesReceived;
    const { mismatches, suspect, verified, targetSize } = summary;
    return { ...sent, mismatches, suspect, verified, sentBytes, targetSize };
  } finally {
    run.receivedBytes += pulled.bytesReceived;
    await transport.destroy();
  }
}

function checkAgreed(word: LastWord | null, received: ReceiveSummary, host: string) {
  const landed = 'everything that was received is on stable storage here, but';
  if (word === null) throw new TransportError(`${host}: ${landed} the sender ended before it confirmed that`);
  if (!word.ok) throw new FarError(word.code, host, word.message);
  if (word.blocks !== received.blocks) {
    const problem = `the sender reports ${countOf(word.blocks, 'block')}, and ${received.blocks} were received`;
    throw new TransportError(`${host}: ${landed} ${problem}`);
  }
  const { blocks, tableBytes, changedBytes, resumedBytes, volumeSize, consistent, codec } = word;
  return { blocks, tableBytes, changedBytes, resumedBytes, volumeSize, consistent, codec };
}

/**
 * Of several errors with the same cause, the one that explains it best: our own side's, else the sender's last word,
 * else how the sender ended.
 */
async function explainFailure(
  error: Error,
  { transport, explainEnd, limits: { farewellMs } = SESSION_LIMITS }: FarSide,
  pulled: PulledStream,
): Promise<Error> {
  const isOfLine = error instanceof TruncatedStreamError || error instanceof TransportError;
  const end = await within(farewellMs, Promise.all([pulled.lastWord().catch(() => null), transport.exit]));
  if (!isOfLine || error instanceof LineError || end === null) return error;
  const [said, exit] = end;
  if (said?.ok === false) return new FarError(said.code, transport.host, said.message);
  return await explainEnd(exit);
}
