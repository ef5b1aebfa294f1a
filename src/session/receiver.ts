import type { ReceiveSummary } from '../apply/receive-summary.js';
import type { TargetOfStream } from '../apply/check-target.js';
import { wantsCloserLook } from '../apply/plans/plan-apply.js';
import type { RunPlan } from '../apply/plans/plan-run.js';
import { applyIncoming, planIncoming, type ReceiveOptions } from '../apply/receive-stream.js';
import type { ByteSink, ByteSource } from '../bytes/byte-channel.js';
import { listCodecs } from '../codec/load-codec.js';
import { LineError, UsageError } from '../errors.js';
import { interruptible } from '../host/interruption.js';
import { watchForSuccessor } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { RECEIVE_MEMORY } from '../memory/budgets.js';
import type { DirectStream } from './direct-stream.js';
import { openIncomingStream, type IncomingStream } from '../stream/incoming-stream.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { TargetState } from '../targets/state-record.js';
import { LineProgress, HEARTBEAT_SECONDS, keepBeating, LineSilence, silenceAllowed } from './line-silence.js';
import { failureOf, ReplyWriter } from './reply-writer.js';

/** The line of a session, from the receiver's side. */
export interface ReceiverLine {
  readonly input: ByteSource;
  /** The stream of a sender in this process, which does not use `input`. */
  readonly direct?: DirectStream;
  readonly output: ByteSink;
  /** What the stream is called in messages. */
  readonly what?: string;
  /** The run that has this line, if it may have others. */
  readonly progress?: LineProgress;
}

/**
 * Opens the target for a run of a sender (null: it has no name) that sends a volume of this size in bytes (null: not
 * known).
 */
export type OpenForRun = (run: string | null, volumeSize: number | null) => Promise<OpenTarget>;

/** How a session ended, and whether the sender was told. */
export type ReceiveOutcome =
  | {
      readonly summary: ReceiveSummary;
      /** What was asked for; null where the stream was applied. */
      readonly plan: RunPlan | null;
      readonly error: null;
      readonly told: boolean;
    }
  | { readonly summary: null; readonly plan: null; readonly error: Error; readonly told: boolean };

const NOTHING_DONE = { summary: null, plan: null } as const;

const ONLY_ASKED = 'this receiver only says what it would do: add --dry-run';

/**
 * The far side of a session: applies what comes in to a target, and reports once: when everything is on stable storage,
 * or when it failed. Never throws: the outcome says what to print and how to end.
 */
export async function runReceiver(
  line: ReceiverLine,
  open: OpenForRun,
  policy: ApplyPolicy,
  env: Surroundings,
): Promise<ReceiveOutcome> {
  const { what = 'stream from the sender', progress = new LineProgress() } = line;
  const replies = new ReplyWriter(line.output);
  // Load the codecs while waiting for the sender.
  const codecs = listCodecs();
  codecs.catch(() => undefined);
  const ends: (() => void)[] = [];
  let target: OpenTarget | null = null;
  try {
    const succeeded = new AbortController();
    const signal = AbortSignal.any([env.signal, succeeded.signal]);
    const silence = new LineSilence();
    // The target is not opened or locked before the sender has sent something.
    const incoming = await openLine(line, what, silence, signal);
    const { heartbeat, run = null, base = null } = incoming.header ?? {};
    if (heartbeat !== undefined) {
      const allowed = silenceAllowed(heartbeat);
      silence.allow(allowed, `the sender gave no sign of life for ${allowed / 1000} s`);
    }
    ends.push(keepBeating(HEARTBEAT_SECONDS, () => replies.alive()));
    // Nothing is made for a question.
    target = await open(run, incoming.asks ? null : (incoming.header?.volumeSize ?? null));
    if (policy.dryRun && !incoming.asks) throw new UsageError(ONLY_ASKED);
    if (incoming.asks)
      return await answerPlan(incoming, { what, target, policy }, replies, { ...env, signal });
    const giveWay = () => {
      succeeded.abort(new LineError('the sender started again over a new connection'));
    };
    if (run !== null) ends.push(watchForSuccessor(target.folder, run, giveWay));
    const options: ReceiveOptions = {
      ...{ what, target, policy, isSession: true },
      ready: async ({ size: targetSize, known, resume }) => {
        progress.hasBegun = true;
        await replies.hello({
          ...{ version: env.version, targetSize, holds: tellable(known.holds, base, resume) },
          stale: wantsCloserLook(incoming.header, known),
          ...{ codecs: await codecs, sections: true },
          ...{ heartbeat: HEARTBEAT_SECONDS, resume: resume?.toString('base64') ?? null },
          audit: known.auditFrom ?? known.holds?.proved?.position ?? 0,
        });
      },
      want: (extent) => replies.want(extent),
      durable: async (frame, isPlace) => {
        if (isPlace) progress.checkpoints += 1;
        await replies.durable(frame);
      },
    };
    const summary = await applyIncoming(incoming, options, { ...env, signal });
    const { blocks, mismatches, suspect, verified } = summary;
    const said = { ok: true, blocks, mismatches, suspect, verified } as const;
    return { summary, plan: null, error: null, told: await replies.result(said) };
  } catch (error) {
    // The sender cannot read it over a broken line, and would take it for a refusal if it reads it late.
    const told = error instanceof LineError ? false : await replies.result(failureOf(error));
    return { ...NOTHING_DONE, error: error instanceof Error ? error : new Error(String(error)), told };
  } finally {
    for (const end of ends) end();
    await target?.close();
  }
}

async function openLine(
  { input, direct }: ReceiverLine,
  what: string,
  silence: LineSilence,
  signal: AbortSignal,
): Promise<IncomingStream> {
  if (direct === undefined) {
    const { lend } = new BufferPool(RECEIVE_MEMORY);
    return await openIncomingStream(interruptible(silence.listen(input), signal), lend, what);
  }
  const stop = () => {
    direct.break(signal.reason as Error);
  };
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  return await direct.open();
}

/** Tells what applying a stream would do. */
async function answerPlan(
  incoming: IncomingStream,
  options: TargetOfStream,
  replies: ReplyWriter,
  env: Surroundings,
): Promise<ReceiveOutcome> {
  const { plan, summary } = await planIncoming(incoming, options, env);
  const { device, record } = options.target;
  const { holds } = await record.read();
  const { steps, from, to, refusals } = plan;
  await replies.plan({
    ...{ targetSize: device.size, holds: tellable(holds, from, null) },
    ...{ steps: [...steps], from, to },
    refusals: refusals.map((refusal) => failureOf(refusal)),
  });
  return { summary, plan, error: null, told: await replies.result({ ok: true, blocks: 0 }) };
}

/**
 * The state to report to the sender. The sender is not told of a half-copied target, which is not for it to judge. It
 * is not told of a state that is only believed to be the stream's base either, because nothing may be skipped for that.
 */
function tellable(holds: TargetState | null, base: string | null, resume: Buffer | null) {
  if (holds === null || holds.is === 'copying') return null;
  if (holds.believed !== undefined && holds.identity === base && resume?.length !== 0) return null;
  return { is: holds.is, identity: holds.identity, from: holds.from };
}

/** Tells a sender that its session is refused, before anything is opened for it. */
export async function refuseSession({ output }: ReceiverLine, error: Error): Promise<ReceiveOutcome> {
  return { ...NOTHING_DONE, error, told: await new ReplyWriter(output).result(failureOf(error)) };
}
