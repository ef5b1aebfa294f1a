import type { ByteSink, ByteSource } from '../bytes/byte-channel.js';
import type { ChangeSource } from '../changes/change-source.js';
import { InterruptedError, TransportError } from '../errors.js';
import { PROTOCOL_LINE } from '../stream/frame-format.js';
import type { FarExit } from '../transport/transport.js';
import { encodeResult, type LastWord } from './messages.js';
import { failureOf } from './reply-writer.js';
import { SESSION_LIMITS, type FarSide, type SessionSummary } from './sender.js';

/** The line of a session, from the side of a sender that its receiver started. */
export interface SenderLine {
  /** The receiver's replies. */
  readonly input: ByteSource;
  /** The stream, then the last word. */
  readonly output: ByteSink;
}

/** How a pulled sender ended, and whether the receiver was told. */
export interface PulledOutcome {
  readonly error: Error | null;
  readonly told: boolean;
}

/** The receiver does not end before it has the last word, so do not wait for its end. */
const LIMITS = { ...SESSION_LIMITS, farewellMs: 0 };

/** What a pulled sender does with its receiver: sends a source's changes, or asks what that would do. */
export type TalkToReceiver = (far: FarSide, source: ChangeSource) => Promise<SessionSummary>;

/**
 * The far side of a pull: sends a source's changes to the receiver that started it, and finally tells it what was sent,
 * or why it failed. Never throws: the outcome says how to end.
 */
export async function runPulledSender(
  { input, output }: SenderLine,
  open: () => Promise<ChangeSource>,
  talk: TalkToReceiver,
): Promise<PulledOutcome> {
  const sink = new StreamSink(output);
  const tell = (word: LastWord) => sayLast(output, word);
  let source: ChangeSource | null = null;
  try {
    // A sign of life, because reading a large table takes time.
    await sink.begin();
    source = await open();
    const summary = await talk(farSideOf(input, sink), source);
    return { error: null, told: await tell(wordOf(summary)) };
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    // A frame may be half-written now: without its rest, the receiver knows that the stream was cut.
    if (error instanceof InterruptedError) return { error, told: false };
    return { error, told: await tell(failureOf(error, 'sender')) };
  } finally {
    await source?.watch.close();
  }
}

/** The sink of the stream. Its end does not end the line, because the last word follows. */
class StreamSink implements ByteSink {
  private hasLine = false;

  constructor(private readonly output: ByteSink) {}

  async begin(): Promise<void> {
    await this.output.write(Buffer.from(PROTOCOL_LINE));
  }

  async write(piece: Uint8Array): Promise<void> {
    // The stream begins with the protocol line, which was already sent.
    if (this.hasLine) await this.output.write(piece);
    this.hasLine = true;
  }

  end(): Promise<void> {
    return Promise.resolve();
  }
}

/** The receiver as a far side. It cannot be asked how it ended: it only hangs up. */
function farSideOf(input: ByteSource, output: ByteSink): FarSide {
  let hangUp: (exit: FarExit) => void = () => undefined;
  const exit = new Promise<FarExit>((resolve) => (hangUp = resolve));
  async function* untilEnd(): ByteSource {
    try {
      yield* input;
    } finally {
      hangUp({ status: null, signal: null });
    }
  }
  return {
    transport: { host: 'the receiver', output, input: untilEnd(), exit, destroy: () => Promise.resolve() },
    explainEnd: () => Promise.resolve(new TransportError('the receiver hung up before it reported a result')),
    limits: LIMITS,
  };
}

function wordOf(summary: SessionSummary): LastWord {
  const { blocks, tableBytes, changedBytes, resumedBytes, volumeSize, consistent, codec } = summary;
  return { ok: true, blocks, tableBytes, changedBytes, resumedBytes, volumeSize, consistent, codec };
}

/** Sends the last word and ends the line; false: the receiver is gone. */
async function sayLast(output: ByteSink, word: LastWord): Promise<boolean> {
  try {
    // The last word is not a part of the stream. It is the sender's only frame of its kind, so it has number 0.
    await output.write(encodeResult(word, 0));
    await output.end();
    return true;
  } catch {
    return false;
  }
}
