import type { ByteSource } from '../bytes/byte-channel.js';
import { FarError, FarSideError, FormatError, TransportError } from '../errors.js';
import { ByteReader } from '../stream/frames/byte-reader.js';
import { OPTIONAL, type FrameHeader } from '../stream/frame-format.js';
import { FrameReader, type SmallFrame } from '../stream/frames/frame-reader.js';
import { ForeignLineError, readProtocolLine } from '../stream/incoming-stream.js';
import { DIGESTS } from '../stream/query-format.js';
import { farChatter } from '../transport/far-exit.js';
import { LineSilence, silenceAllowed } from './line-silence.js';
import {
  HELLO,
  PLAN,
  parseHello,
  parseResult,
  RESULT,
  WANT,
  type HelloMessage,
  type ResultMessage,
} from './messages.js';

/**
 * Reads the first line from an lvmsync on another host. Throws FarSideError if another program printed something there,
 * else as `readProtocolLine`.
 */
export async function readFarProtocol(reader: ByteReader, what: string, host: string): Promise<3 | 4> {
  return await readProtocolLine(reader, what).catch((error: unknown) => {
    throw error instanceof ForeignLineError ? farChatter(host, error.line) : error;
  });
}

/** Frames in which an unknown flag is an error, because it could change their meaning. */
const WITHOUT_FLAGS = new Set([HELLO, RESULT, PLAN, DIGESTS, WANT]);

/** The replies of a receiver. */
export interface Replies {
  /** The receiver's hello, when it is ready. Throws FarError if it refused, TransportError after this much silence. */
  waitForHello(silenceMs: number): Promise<HelloMessage>;
  /** If nothing arrives for this long, the result becomes a TransportError. Milliseconds. */
  allowSilence(silenceMs: number): void;
  /** The receiver's last word. Rejects with TransportError or FormatError if it ends without one. */
  readonly result: Promise<ResultMessage>;
}

/**
 * Starts to read a receiver's side of the line.
 *
 * @param takeOther called with replies other than hello and result; returns false if it does not accept one
 */
export function readReplies(
  input: ByteSource,
  host: string,
  takeOther: (frame: SmallFrame) => boolean = () => false,
): Replies {
  let sayHello: (hello: HelloMessage) => void = () => undefined;
  const hello = new Promise<HelloMessage>((resolve) => (sayHello = resolve));
  const silence = new LineSilence();
  const result = readAll(silence.listen(input), host, sayHello, takeOther);
  // Until it is awaited, it must not become an unhandled rejection.
  result.catch(() => undefined);
  const allowSilence = (silenceMs: number) => {
    const seconds = Math.round(silenceMs / 1000);
    silence.allow(silenceMs, `${host}: no answer from the far side's lvmsync within ${seconds} s`);
  };
  return {
    result,
    allowSilence,
    async waitForHello(silenceMs) {
      allowSilence(silenceMs);
      const refused = result.then((word) => {
        if (!word.ok) throw new FarError(word.code, host, word.message);
        throw new TransportError(`${host}: it reported a result before anything was sent`);
      });
      refused.catch(() => undefined);
      const said = await Promise.race([hello, refused]);
      const allowed = said.heartbeat === null ? null : silenceAllowed(said.heartbeat);
      silence.allow(allowed, `${host}: no sign of life for ${(allowed ?? 0) / 1000} s`);
      return said;
    },
  };
}

async function readAll(
  input: ByteSource,
  host: string,
  sayHello: (hello: HelloMessage) => void,
  takeOther: (frame: SmallFrame) => boolean,
): Promise<ResultMessage> {
  const what = `answer from ${host}`;
  const reader = new ByteReader(input, what);
  if (await reader.atEnd()) throw new TransportError(`${host}: the far side ended without an answer`);
  await checkProtocol(reader, what, host);
  const frames = new FrameReader(reader, what);
  while (!(await reader.atEnd())) {
    const frame = await frames.next(lendNothing);
    if ('data' in frame) throw new FormatError(what, frame.position, 'frame', 'a data frame, not a reply');
    const { header, payload, position } = frame;
    if (WITHOUT_FLAGS.has(header.type) && header.flags !== 0) {
      const problem = `unknown flags 0x${header.flags.toString(16)}`;
      throw new FormatError(what, position, `${header.type} frame`, problem);
    }
    if (header.type === HELLO) sayHello(parseHello(payload, what, position));
    else if (header.type === RESULT) {
      // What follows is not needed, but the writer must be able to finish.
      drain(reader);
      return parseResult(payload, what, position);
    } else if (!takeOther(frame) && !isSkippable(header)) {
      throw new FormatError(what, position, 'frame', 'not a reply');
    }
  }
  throw new TransportError(`${host}: the far side ended without reporting a result`);
}

/** Throws FarSideError if the far side speaks another protocol, or is not an lvmsync. */
async function checkProtocol(reader: ByteReader, what: string, host: string): Promise<void> {
  const version = await readFarProtocol(reader, what, host).catch((error: unknown) => {
    if (error instanceof FormatError && error.field === 'protocol') return null;
    throw error;
  });
  if (version === 4) return;
  const found = version === null ? 'an unknown protocol' : `PROTO[${version}]`;
  throw new FarSideError(
    `${host}: its lvmsync speaks ${found}, but PROTO[4] is needed: install the same version on both sides`,
  );
}

/** Replies have lower-case types. The frames of a stream do not belong here, and are never optional. */
function isSkippable({ type, flags }: FrameHeader): boolean {
  return /[a-z]/.test(type) && (flags & OPTIONAL) !== 0;
}

function drain(reader: ByteReader): void {
  const rest = Buffer.alloc(1);
  const readOn = async (): Promise<void> => {
    while (!(await reader.atEnd())) await reader.readInto(rest, 'nothing');
  };
  // The result has come, so a line that breaks now does not matter.
  readOn().catch(() => undefined);
}

/** Replies carry no data, so no memory is lent. */
function lendNothing(): Promise<never> {
  return Promise.reject(new TransportError('the far side sent data where only replies are expected'));
}
