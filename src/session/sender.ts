import { randomUUID } from 'node:crypto';
import { countOf } from '../bytes/amounts.js';
import type { ByteSink } from '../bytes/byte-channel.js';
import type { ChangeSource } from '../changes/change-source.js';
import type { CodecName } from '../codec/codec.js';
import type { BlockPacker } from '../engine/pack-blocks.js';
import { FarError, FarSideError, FormatError, LineError, TransportError } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { DIRECT_MEMORY, SEND_MEMORY } from '../memory/budgets.js';
import { choosePacker, prepareCodec, NO_COMPRESSION, tellPacking } from '../send/choose-packer.js';
import {
  sendChanges,
  type Greeting,
  type SendOptions,
  type SendSession,
  type SendSummary,
} from '../send/send-changes.js';
import { WantedPieces } from '../send/wanted-pieces.js';
import type { SessionWriter } from '../stream/block-writer.js';
import type { DirectStream } from './direct-stream.js';
import type { SmallFrame } from '../stream/frames/frame-reader.js';
import { FrameWriter } from '../stream/frame-writer.js';
import type { Verified } from '../targets/coverage.js';
import { limitRate } from '../transport/rate-limit.js';
import type { FarExit, Transport } from '../transport/transport.js';
import { LineProgress, HEARTBEAT_SECONDS, keepBeating } from './line-silence.js';
import { DURABLE, parseDurable, parseWant, WANT, type ResultMessage } from './messages.js';
import { readReplies, type Replies } from './replies.js';

/** How long to wait for a far side. Milliseconds. */
export interface SessionLimits {
  /** From its start to its first word. */
  readonly helloMs: number;
  /** From the end of the line to the end of the far side, before it is cut off. */
  readonly farewellMs: number;
}

export const SESSION_LIMITS: SessionLimits = { helloMs: 30_000, farewellMs: 5_000 };

/** The line to a far side that runs `lvmsync receive`. */
export interface FarSide {
  readonly transport: Transport;
  /** The one error that says why it ended without its report. May run lvmsync on the far side once more to find out. */
  readonly explainEnd: (exit: FarExit) => Promise<Error>;
  /** How long to wait for it; SESSION_LIMITS by default. */
  readonly limits?: SessionLimits;
}

/** A far side, and the run that has its line. */
export interface FarSideOf<Run extends LineProgress> extends FarSide {
  /** A new run by default. */
  readonly run?: Run;
  /** The way to a receiver in this process, instead of frames on the line. */
  readonly direct?: DirectStream;
}

/** One run of a sender, over all of its lines. */
export class SenderRun extends LineProgress {
  /** Identifies the run to receivers: a receiver of an earlier line gives way to one of a later line. */
  readonly id = randomUUID();
  /** How many bytes were sent over all of its lines. */
  sentBytes = 0;
}

/** What was sent, and what it took on the wire. */
export interface SessionSummary extends SendSummary {
  readonly sentBytes: number;
  /** Bytes; null: not reported. */
  readonly targetSize: number | null;
  /** Blocks that the target unexpectedly held neither old nor new; null: not reported. */
  readonly mismatches: number | null;
  /**
   * Why the rest of the target is in doubt: bytes were found that contradict what was known about it. Null: no doubt.
   */
  readonly suspect: string | null;
  /** How much of the target is proved, and since when; null: not reported. */
  readonly verified: Verified | null;
  /** The codec, if any blocks were sent compressed. */
  readonly codec: CodecName | null;
}

/**
 * Sends a source's changes to a receiver and waits for its report that everything is on stable storage there.
 *
 * Throws FarError if the receiver refused or failed, FarSideError if there is no lvmsync, TransportError if the line
 * broke or the far side ended without its report; else what `sendChanges` throws. When it returns or throws, the far
 * side has ended or is cut off.
 */
export async function runSender(
  far: FarSideOf<SenderRun>,
  source: ChangeSource,
  options: SendOptions,
  env: Surroundings,
): Promise<SessionSummary> {
  const { transport, run = new SenderRun(), limits = SESSION_LIMITS } = far;
  // A receiver in this process keeps the memory of its blocks until they are written.
  const { lend } = new BufferPool(far.direct === undefined ? SEND_MEMORY : DIRECT_MEMORY);
  const wish = options.compression ?? NO_COMPRESSION;
  prepareCodec(wish);
  const acknowledged = new Acknowledgements();
  let wanted = new WantedPieces();
  const replies = readReplies(transport.input, transport.host, (frame) => {
    if (frame.header.type !== WANT) return acknowledged.take(frame, transport.host);
    const { payload, position } = frame;
    wanted.take(parseWant(payload, transport.host, position), transport.host, position);
    return true;
  });
  const writer: SessionWriter = far.direct ?? new FrameWriter(pacedSink(transport.output, options, env));
  let packer: BlockPacker | null = null;
  let targetSize: number | null = null;
  const stopBeating = keepBeating(HEARTBEAT_SECONDS, () => writer.heartbeat());
  const session: SendSession = {
    header: { heartbeat: HEARTBEAT_SECONDS, run: run.id },
    resume: (token) => writer.resume(token),
    audit: (extent) => writer.audit(extent),
    checkpoint: async (token) => {
      // The answer may come before the write is done.
      acknowledged.await(writer.frameCount, () => {
        run.checkpoints += 1;
      });
      await writer.checkpoint(token);
    },
    host: transport.host,
    listen: (pieces) => {
      wanted = pieces;
    },
    hearAll: async () => {
      const answered = new Promise<void>((resolve) => {
        acknowledged.await(writer.frameCount, resolve);
      });
      await writer.checkpoint(Buffer.alloc(0));
      await unlessAnswered(answered, replies);
    },
    get isAnswered() {
      return acknowledged.isAllTaken;
    },
  };
  const greet = async (): Promise<Greeting> => {
    const hello = await replies.waitForHello(limits.helloMs);
    run.hasBegun = true;
    ({ targetSize } = hello);
    packer = await choosePacker(wish, { host: transport.host, ...hello }, env);
    const { holds, stale: isStale, resume, sections: takesSections, audit: auditFrom } = hello;
    if (auditFrom === null && options.audit != null) throw knowsNoAudit(transport.host);
    return {
      holds,
      isStale,
      run: run.id,
      takesSections,
      ...(auditFrom === null ? {} : { auditFrom }),
      packer,
      resume: resume === null ? null : Buffer.from(resume, 'base64'),
    };
  };
  try {
    const sent = sendChanges(source, { writer, greet, session }, options, { ...env, lend });
    const summary = await orInterrupted(
      unlessAnswered(sent, replies, () => writer.isEnding),
      env.signal,
    );
    const {
      mismatches,
      suspect,
      verified = null,
    } = checkResult(await orInterrupted(replies.result, env.signal), summary, transport.host);
    // The far side may still print something to stderr. That does not change the result.
    await within(limits.farewellMs, transport.exit);
    const sentBytes = run.sentBytes + writer.bytesWritten;
    const heard = { mismatches, suspect, verified, targetSize };
    return { ...summary, ...heard, sentBytes, codec: tellPacking(packer, env) };
  } catch (error) {
    throw await explainFailure(error, far, replies);
  } finally {
    run.sentBytes += writer.bytesWritten;
    stopBeating();
    await transport.destroy();
  }
}

function knowsNoAudit(host: string): FarSideError {
  return new FarSideError(`${host}: its lvmsync does not support --audit: install this version there, too`);
}

/** The checkpoints that a receiver has not answered yet, the oldest first. */
class Acknowledgements {
  private readonly open: { readonly frame: number; readonly answered: () => void }[] = [];

  get isAllTaken(): boolean {
    return this.open.length === 0;
  }

  await(frame: number, answered: () => void): void {
    this.open.push({ frame, answered });
  }

  /** Accepts a reply; false: not an answer to a checkpoint. Throws FormatError if that checkpoint was not asked for. */
  take({ header, payload, position }: SmallFrame, host: string): boolean {
    if (header.type !== DURABLE) return false;
    const frame = parseDurable(payload, host, position);
    const oldest = this.open.shift();
    if (frame !== oldest?.frame) {
      throw new FormatError(
        host,
        position,
        'acknowledgement',
        `it is for frame ${frame}, which did not ask for one`,
      );
    }
    oldest.answered();
    return true;
  }
}

/** The same sink, limited to the rate in the options. */
export function pacedSink(sink: ByteSink, { bytesPerSecond }: SendOptions, env: Surroundings): ByteSink {
  return bytesPerSecond === undefined ? sink : limitRate(sink, bytesPerSecond, env);
}

/**
 * The result of the work. Throws TransportError as soon as the far side sends its last word or ends before that.
 *
 * @param isEnding whether everything is being sent: then the answer may come before the last write has ended
 */
export async function unlessAnswered<T>(
  work: Promise<T>,
  replies: Replies,
  isEnding: () => boolean = () => false,
): Promise<T> {
  // If both fail, the second error must not become an unhandled rejection.
  work.catch(() => undefined);
  const early = replies.result.then((word) => {
    if (word.ok && isEnding()) return work;
    throw new TransportError('the far side ended before everything was sent');
  });
  early.catch(() => undefined);
  return await Promise.race([work, early]);
}

function checkResult(result: ResultMessage, sent: SendSummary, host: string) {
  if (!result.ok) throw new FarError(result.code, host, result.message);
  if (result.blocks !== sent.blocks) {
    throw new TransportError(
      `${host}: it reports ${countOf(result.blocks, 'block')}, but ${sent.blocks} were sent`,
    );
  }
  return result;
}

/**
 * Ends the line, so that the far side can end too. Of several errors with the same cause, returns the one that explains
 * it best: our own side's, else the far side's last word, else how the far side ended.
 */
export async function explainFailure(error: unknown, far: FarSide, replies: Replies): Promise<unknown> {
  const { transport, limits = SESSION_LIMITS } = far;
  transport.output.end().catch(() => undefined);
  const end = await within(
    limits.farewellMs,
    Promise.all([replies.result.catch(() => null), transport.exit]),
  );
  if (end === null || !(error instanceof TransportError)) return error;
  const [result, exit] = end;
  if (result?.ok === false) return new FarError(result.code, transport.host, result.message);
  // That the line was found dead says more than how it ended.
  if (result?.ok === true || error instanceof LineError) return error;
  return await far.explainEnd(exit);
}

/** The result of the work; null: it takes longer. */
export async function within<T>(milliseconds: number, work: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, milliseconds, null);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
