import { randomUUID } from 'node:crypto';
import type { ByteSink, LendBuffer } from '../bytes/byte-channel.js';
import type { ChangeSource } from '../changes/change-source.js';
import type { CodecName } from '../codec/codec.js';
import type { BlockPacker } from '../engine/pack-blocks.js';
import { FarError, FarSideError, FormatError, LineError, TransportError } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import { choosePacker, prepareCodec, NO_COMPRESSION, tellPacking } from '../send/choose-packer.js';
import {
  sendChanges,
  type Greeting,
  type SendOptions,
  type SendSession,
  type SendSummary,
} from '../send/send-changes.js';
import { WantedPieces } from '../send/wanted-pieces.js';
import type { SmallFrame } from '../stream/frame-reader.js';
import { FrameWriter } from '../stream/frame-writer.js';
import type { Verified } from '../targets/coverage.js';
import { limitRate } from '../transport/rate-limit.js';
import type { FarExit, Transport } from '../transport/transport.js';
import { LineProgress, HEARTBEAT_SECONDS, keepBeating } from './line-silence.js';
import { DURABLE, parseDurable, parseWant, WANT, type ResultMessage } from './messages.js';
import { readReplies, type Replies } from './replies.js';

/** How long a far side is waited for. Milliseconds. */
export interface SessionLimits {
  /** From its start to its first word. */
  readonly helloMs: number;
  /** From the end of the line to its own end, before it is cut. */
  readonly farewellMs: number;
}

export const SESSION_LIMITS: SessionLimits = { helloMs: 30_000, farewellMs: 5_000 };

/** The line to a far side that runs `lvmsync receive`. */
export interface FarSide {
  readonly transport: Transport;
  /** The one error that says why it ended without its report. It may be asked once more for that. */
  readonly explainEnd: (exit: FarExit) => Promise<Error>;
}

/** One run of a sender, through all the lines that it takes. */
export class SenderRun extends LineProgress {
  /** Names it to receivers: one of an earlier line gives way to one of a later. */
  readonly id = randomUUID();
  /** What all its lines took. */
  sentBytes = 0;
}

/** What went out, and what it took on the wire. */
export interface SessionSummary extends SendSummary {
  readonly sentBytes: number;
  /** Bytes; null where nobody told. */
  readonly targetSize: number | null;
  /** Blocks that the target held neither old nor new, and was not expected to; null where nobody told. */
  readonly mismatches: number | null;
  /** Why what else the target holds is in doubt, as bytes were found that contradict what was known of it; or null. */
  readonly suspect: string | null;
  /** How much of the target is proved, and since when; null where nobody told. */
  readonly verified: Verified | null;
  /** What made blocks fewer bytes, where any went out so. */
  readonly codec: CodecName | null;
}

/**
 * Sends a source's changes to a receiver and waits for its report that all of it is on stable storage there.
 *
 * Throws FarError where the receiver refused or failed, FarSideError where there is none, TransportError where
 * the line broke or the far side ended without its report; else what `sendChanges` throws. The far side has
 * ended, or is cut off, when it returns or throws.
 */
export async function runSender(
  far: FarSide,
  source: ChangeSource,
  options: SendOptions,
  about: Surroundings,
  lend: LendBuffer,
  run = new SenderRun(),
  limits = SESSION_LIMITS,
): Promise<SessionSummary> {
  const { transport } = far;
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
  const writer = new FrameWriter(pacedSink(transport.output, options, about));
  let packer: BlockPacker | null = null;
  let targetSize: number | null = null;
  const stopBeating = keepBeating(HEARTBEAT_SECONDS, () => writer.heartbeat());
  const session: SendSession = {
    header: { heartbeat: HEARTBEAT_SECONDS, run: run.id },
    resume: (token) => writer.resume(token),
    audit: (extent) => writer.audit(extent),
    checkpoint: async (token) => {
      // It may be answered before the write is done.
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
    packer = await choosePacker(wish, { host: transport.host, ...hello }, about);
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
    const sent = sendChanges(source, writer, options, about, lend, { greet, session });
    const summary = await orInterrupted(
      unlessAnswered(sent, replies, () => writer.isEnding),
      about.signal,
    );
    const {
      mismatches,
      suspect,
      verified = null,
    } = checkResult(await orInterrupted(replies.result, about.signal), summary, transport.host);
    // It may have something to say on stderr yet; whatever it is, the result stands.
    await within(limits.farewellMs, transport.exit);
    const sentBytes = run.sentBytes + writer.bytesWritten;
    const heard = { mismatches, suspect, verified, targetSize };
    return { ...summary, ...heard, sentBytes, codec: tellPacking(packer, about) };
  } catch (error) {
    throw await explainFailure(error, far, replies, limits);
  } finally {
    run.sentBytes += writer.bytesWritten;
    stopBeating();
    await transport.destroy();
  }
}

function knowsNoAudit(host: string): FarSideError {
  return new FarSideError(`${host}: its lvmsync does not support --audit: install this version there, too`);
}

/** Which checkpoints a receiver still owes its answers to, the oldest first. */
class Acknowledgements {
  private readonly open: { readonly frame: number; readonly answered: () => void }[] = [];

  get isAllTaken(): boolean {
    return this.open.length === 0;
  }

  await(frame: number, answered: () => void): void {
    this.open.push({ frame, answered });
  }

  /** Takes a reply; false where it is no answer to a checkpoint. Throws FormatError where nobody asked for it. */
  take({ header, payload, position }: SmallFrame, host: string): boolean {
    if (header.type !== DURABLE) return false;
    const frame = parseDurable(payload, host, position);
    const oldest = this.open.shift();
    if (frame !== oldest?.frame) {
      throw new FormatError(host, position, 'acknowledgement', `it is for frame ${frame}, which did not ask for one`);
    }
    oldest.answered();
    return true;
  }
}

/** The same sink, as slow as the options want it. */
export function pacedSink(sink: ByteSink, { bytesPerSecond }: SendOptions, about: Surroundings): ByteSink {
  return bytesPerSecond === undefined ? sink : limitRate(sink, bytesPerSecond, about);
}

/**
 * What the work gives; throws TransportError as soon as the far side says its last word or ends before that.
 *
 * @param isEnding whether all is on its way: the answer may then overtake the last write's own end
 */
export async function unlessAnswered<T>(
  work: Promise<T>,
  replies: Replies,
  isEnding: () => boolean = () => false,
): Promise<T> {
  // Whichever is second may fail too, with nobody left to hear it.
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
    throw new TransportError(`${host}: it reports ${result.blocks} blocks, but ${sent.blocks} were sent`);
  }
  return result;
}

/**
 * Ends the line, so that the far side can end too. Of several errors that one fault causes, the one that names
 * it: our own side's, else the far side's word, else how the far side ended.
 */
export async function explainFailure(
  error: unknown,
  far: FarSide,
  replies: Replies,
  limits: SessionLimits,
): Promise<unknown> {
  const { transport } = far;
  transport.output.end().catch(() => undefined);
  const end = await within(
    limits.farewellMs,
    Promise.all([replies.result.catch(() => null), transport.exit]),
  );
  if (end === null || !(error instanceof TransportError)) return error;
  const [result, exit] = end;
  if (result?.ok === false) return new FarError(result.code, transport.host, result.message);
  // A line that was found dead says more than how its end looked.
  if (result?.ok === true || error instanceof LineError) return error;
  return await far.explainEnd(exit);
}

/** What the work gives, or null when it takes longer. */
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
