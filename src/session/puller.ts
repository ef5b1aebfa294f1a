import type { ReceiveSummary } from '../apply/apply-stream.js';
import type { LendBuffer } from '../bytes/byte-channel.js';
import { FarError, LineError, TransportError, TruncatedStreamError } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import type { OpenTarget } from '../targets/open-target.js';
import { LineProgress } from './line-silence.js';
import type { LastWord } from './messages.js';
import { PulledStream } from './pulled-stream.js';
import { runReceiver } from './receiver.js';
import { SESSION_LIMITS, within, type FarSide, type SessionSummary } from './sender.js';

/** One run of a puller, through all the lines that it takes. */
export class PullerRun extends LineProgress {
  /** What came over all its lines. Bytes. */
  receivedBytes = 0;
}

/**
 * Takes the changes that a far sender sends into a target of this host. Returns when all of it is on stable storage
 * here and the sender has agreed that it is all.
 *
 * Throws FarError where the sender failed, FarSideError where there is none, TransportError where the line broke or
 * the sender ended without its last word; else what `receiveStream` throws. The far side has ended, or is cut off,
 * when it returns or throws.
 */
export async function runPuller(
  far: FarSide,
  open: () => Promise<OpenTarget>,
  policy: ApplyPolicy,
  about: Surroundings,
  lend: LendBuffer,
  run = new PullerRun(),
  limits = SESSION_LIMITS,
): Promise<SessionSummary> {
  const { transport } = far;
  const pulled = new PulledStream(transport.input, transport.host, limits.helloMs);
  const line = { input: pulled.stream, output: transport.output, what: `stream from ${transport.host}` };
  try {
    const { summary, plan, error } = await runReceiver(line, open, policy, about, lend, run);
    if (error !== null) throw await explainFailure(error, far, pulled, limits.farewellMs);
    const [refusal] = plan?.refusals ?? [];
    if (refusal !== undefined) throw refusal;
    const word = await orInterrupted(within(limits.helloMs, pulled.lastWord()), about.signal);
    const sent = checkAgreed(word, summary, transport.host);
    // It may have something to say on stderr yet; whatever it is, the result stands.
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
    const problem = `the sender reports ${word.blocks} blocks, and ${received.blocks} were received`;
    throw new TransportError(`${host}: ${landed} ${problem}`);
  }
  const { blocks, tableBytes, changedBytes, resumedBytes, volumeSize, consistent, codec } = word;
  return { blocks, tableBytes, changedBytes, resumedBytes, volumeSize, consistent, codec };
}

/**
 * Of several errors that one fault causes, the one that names it: our own side's, else the sender's word, else how
 * it ended.
 */
async function explainFailure(
  error: Error,
  { transport, explainEnd }: FarSide,
  pulled: PulledStream,
  farewellMs: number,
): Promise<Error> {
  const isOfLine = error instanceof TruncatedStreamError || error instanceof TransportError;
  const end = await within(farewellMs, Promise.all([pulled.lastWord().catch(() => null), transport.exit]));
  if (!isOfLine || error instanceof LineError || end === null) return error;
  const [said, exit] = end;
  if (said?.ok === false) return new FarError(said.code, transport.host, said.message);
  return await explainEnd(exit);
}
