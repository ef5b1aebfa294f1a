import type { LendBuffer } from '../bytes/byte-channel.js';
import type { ChangeSource, SourceFacts } from '../changes/change-source.js';
import { DeviceError, FarError, FarSideError, TransportError } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { SEND_MEMORY } from '../memory/budgets.js';
import { takeCloserSample } from '../send/base-sample.js';
import { beginStream, type OldBytesWish, type StreamOpening } from '../send/begin-stream.js';
import { FrameWriter } from '../stream/frame-writer.js';
import { parsePlan, PLAN, type PlanMessage, type ResultMessage } from './messages.js';
import { readReplies } from './replies.js';
import { explainFailure, SESSION_LIMITS, within, type FarSide, type SessionSummary } from './sender.js';

/** What a transfer would do. */
export interface PlannedSummary extends SessionSummary {
  readonly plan: PlanMessage;
}

/**
 * Asks a receiver what a transfer would do there: sends what the stream would begin with, and nothing else. Neither side
 * writes. The plan may refuse the transfer.
 *
 * Throws FarError if the target cannot be opened, FarSideError if the receiver is too old for the question, and what
 * `runSender` throws. When it returns or throws, the far side has ended or is cut off.
 */
export async function askPlan(
  far: FarSide,
  source: ChangeSource,
  wish: OldBytesWish,
  env: Surroundings,
): Promise<PlannedSummary> {
  const { transport, limits = SESSION_LIMITS } = far;
  const { lend } = new BufferPool(SEND_MEMORY);
  const plans: PlanMessage[] = [];
  const replies = readReplies(transport.input, transport.host, ({ header, payload, position }) => {
    if (header.type !== PLAN || plans.length > 0) return false;
    plans.push(parsePlan(payload, transport.host, position));
    return true;
  });
  const writer = new FrameWriter(transport.output);
  try {
    const opening = await beginStream(source, wish, { ...env, lend });
    const { changes } = opening;
    // The receiver says nothing before it is asked, and reading a large table takes time.
    replies.allowSilence(limits.helloMs);
    const asking = ask(opening, source.facts, writer, lend);
    const result = await orInterrupted(unlessFailed(asking, replies.result), env.signal);
    if (!result.ok) throw new FarError(result.code, transport.host, result.message);
    const [plan] = plans;
    if (plan === undefined) throw new TransportError(`${transport.host}: the far side ended without a plan`);
    await within(limits.farewellMs, transport.exit);
    return {
      plan,
      tableBytes: changes.trackedBytes,
      changedBytes: changes.changedBytes,
      ...{ resumedBytes: 0, blocks: 0, volumeSize: source.facts.volumeSize },
      consistent: await source.watch.isConsistent(),
      ...{ mismatches: 0, suspect: null, verified: null, codec: null },
      targetSize: plan.targetSize,
      sentBytes: writer.bytesWritten,
    };
  } catch (error) {
    // After a snapshot overflows, reading it fails: report the overflow, not the read error.
    if (error instanceof DeviceError) await source.watch.checkValid();
    throw blameVersion(await explainFailure(error, far, replies));
  } finally {
    await transport.destroy();
  }
}

async function ask(
  { header, sample, unchanged, changes }: StreamOpening,
  { scope }: SourceFacts,
  writer: FrameWriter,
  lend: LendBuffer,
): Promise<void> {
  await writer.ask(header);
  for (const proof of [...sample.changed, ...sample.unchanged]) await writer.prove(proof);
  // Whether the receiver wants more proofs is in its answer: it gets them with the question.
  if (unchanged !== null && scope !== 'full') {
    for (const proof of await takeCloserSample(unchanged, changes, lend)) await writer.prove(proof);
  }
  await writer.finish();
}

/** Returns the answer, which may come before the whole question is sent. Throws if the question could not be sent. */
async function unlessFailed(asking: Promise<void>, answer: Promise<ResultMessage>): Promise<ResultMessage> {
  const asked = asking.catch((error: unknown) => {
    // A receiver that has answered hangs up, even if part of the question is still being sent.
    if (!(error instanceof TransportError)) throw error;
  });
  // It may fail after the answer, when nothing waits for it any more.
  asked.catch(() => undefined);
  await Promise.race([asked, answer.catch(() => undefined)]);
  return await answer;
}

/** Only an older receiver reports the question itself as malformed. */
function blameVersion(error: unknown): unknown {
  if (!(error instanceof FarError) || error.code !== 'FORMAT') return error;
  return new FarSideError(
    `${error.message}: its lvmsync is too old to say what it would do: install this version there, too`,
  );
}
