import * as v from 'valibot';
import type { Extent } from '../bytes/extent.js';
import { CODECS_BY_SPEED } from '../codec/codec.js';
import { FormatError, type ErrorCode } from '../errors.js';
import { encodeFrame } from '../stream/frame-format.js';

/**
 * What the receiver sends to the sender: the protocol line, then frames of lower-case types whose payload is JSON
 * (docs/stream-format.md, "Session").
 */
export const HELLO = 'h';
export const RESULT = 'r';
/** What applying the stream would do, in answer to a question. */
export const PLAN = 'p';
export const DURABLE = 'a';
/** Asks for an extent in full, because its proof failed and only parts of it came. */
export const WANT = 'w';
/** A sign of life from the receiver. Optional. */
export const ALIVE = 'k';

const ERROR_CODES = [
  'USAGE',
  'UNSAFE_TARGET',
  'SNAPSHOT',
  'TRUNCATED',
  'FORMAT',
  'BASE_MISMATCH',
  'DEVICE',
  'TRANSPORT',
  'FAR_SIDE',
  'COMMAND',
  'LOCKED',
] as const satisfies readonly ErrorCode[];

const text = v.pipe(v.string(), v.maxLength(4096));
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const stateSchema = v.object({
  is: v.picklist(['exactly', 'since', 'applying from']),
  identity: text,
  from: v.nullish(text, null),
});
const helloSchema = v.object({
  version: text,
  targetSize: size,
  holds: v.nullish(stateSchema, null),
  stale: v.optional(v.boolean(), false),
  // A receiver that names no codecs cannot decompress anything.
  codecs: v.optional(v.pipe(v.array(text), v.maxLength(32)), []),
  sections: v.optional(v.boolean(), false),
  digests: v.optional(v.pipe(v.array(text), v.maxLength(32)), []),
  resume: v.nullish(v.pipe(text, v.base64()), null),
  heartbeat: v.nullish(v.pipe(size, v.minValue(1), v.maxValue(3600)), null),
  audit: v.nullish(size, null),
});
const planSchema = v.object({
  targetSize: size,
  holds: v.nullish(stateSchema, null),
  steps: v.pipe(
    v.array(
      v.variant('do', [
        v.object({ do: v.literal('settle') }),
        v.object({ do: v.literal('look closer') }),
        v.object({
          do: v.literal('write'),
          bytes: v.nullable(size),
          keeps: v.picklist(['snapback', 'journal', 'nothing']),
        }),
      ]),
    ),
    v.maxLength(32),
  ),
  from: v.nullable(text),
  to: v.nullable(text),
  refusals: v.pipe(v.array(v.object({ code: v.picklist(ERROR_CODES), message: text })), v.maxLength(32)),
});
const failureSchema = v.object({ ok: v.literal(false), code: v.picklist(ERROR_CODES), message: text });
const durableSchema = v.object({ frame: size });
const wantSchema = v.object({ offset: size, length: v.pipe(size, v.minValue(1)) });
const resultSchema = v.variant('ok', [
  v.object({
    ...{ ok: v.literal(true), blocks: size, mismatches: v.optional(size, 0) },
    suspect: v.nullish(text, null),
    verified: v.exactOptional(v.object({ bytes: size, since: v.nullable(text) })),
  }),
  failureSchema,
]);
const sentSchema = v.object({
  ...{ ok: v.literal(true), blocks: size, tableBytes: size, changedBytes: size, volumeSize: size },
  resumedBytes: v.optional(size, 0),
  consistent: v.boolean(),
  codec: v.nullish(v.picklist(CODECS_BY_SPEED), null),
});
const lastWordSchema = v.variant('ok', [sentSchema, failureSchema]);

/**
 * The receiver is ready: its version, its target's size in bytes, the state that the target is known to hold, and
 * whether someone may have written to it since that was recorded; the names of the codecs that it can decompress;
 * whether it understands sections; the digests that it supports besides SHA-256; the token, in base64, of the place up
 * to which it holds this stream; the seconds between its signs of life; where an audit should begin, null if it does
 * not support audits.
 */
export type HelloMessage = v.InferOutput<typeof helloSchema>;

/**
 * What applying a stream would do: the target's size in bytes, the state that it is known to hold, the steps, the states
 * that the stream leads from and to, and why it would be refused, the most important reason first.
 */
export type PlanMessage = v.InferOutput<typeof planSchema>;

/**
 * How the session ended: everything is on stable storage, and why the rest of the target is in doubt, if it is; or the
 * one reason why it failed. An older receiver never reports a doubt.
 */
export type ResultMessage = v.InferOutput<typeof resultSchema>;

/** The same before defaults are filled in, for the side that sends it. */
export type SaidResult = v.InferInput<typeof resultSchema>;

/** A failure, as it is reported to the other side. */
export type FailureMessage = v.InferOutput<typeof failureSchema>;

/**
 * The last word of a sender that its receiver started: what it sent and the receiver confirmed, or the one reason why
 * it failed. Sizes in bytes.
 */
export type LastWord = v.InferOutput<typeof lastWordSchema>;

export function encodeHello(hello: v.InferInput<typeof helloSchema>, number: number): Buffer {
  return encodeFrame(HELLO, 0, number, Buffer.from(JSON.stringify(hello)));
}

export function encodePlan(plan: PlanMessage, number: number): Buffer {
  const refusals = plan.refusals.map(({ code, message }) => ({ code, message: message.slice(0, 4096) }));
  return encodeFrame(PLAN, 0, number, Buffer.from(JSON.stringify({ ...plan, refusals })));
}

/** Throws FormatError on anything but a plan. */
export function parsePlan(payload: Uint8Array, what: string, offset: number): PlanMessage {
  return parse(planSchema, payload, { what, offset, field: 'plan' });
}

/** Encodes the last word of either side. */
export function encodeResult(result: SaidResult | LastWord, number: number): Buffer {
  const message = result.ok ? result : { ...result, message: result.message.slice(0, 4096) };
  return encodeFrame(RESULT, 0, number, Buffer.from(JSON.stringify(message)));
}

export function encodeDurable(frame: number, number: number): Buffer {
  return encodeFrame(DURABLE, 0, number, Buffer.from(JSON.stringify({ frame })));
}

/** The number of the frame up to which everything is on stable storage. Throws FormatError on anything else. */
export function parseDurable(payload: Uint8Array, what: string, offset: number): number {
  return parse(durableSchema, payload, { what, offset, field: 'acknowledgement' }).frame;
}

export function encodeWant({ offset, length }: Extent, number: number): Buffer {
  return encodeFrame(WANT, 0, number, Buffer.from(JSON.stringify({ offset, length })));
}

/** An extent that is asked for in full. Throws FormatError on anything else. */
export function parseWant(payload: Uint8Array, what: string, offset: number): Extent {
  return parse(wantSchema, payload, { what, offset, field: 'want' });
}

/** Throws FormatError on anything but a hello. */
export function parseHello(payload: Uint8Array, what: string, offset: number): HelloMessage {
  return parse(helloSchema, payload, { what, offset, field: 'hello' });
}

/** Throws FormatError on anything but a result. */
export function parseResult(payload: Uint8Array, what: string, offset: number): ResultMessage {
  return parse(resultSchema, payload, { what, offset, field: 'result' });
}

/** Throws FormatError on anything but a sender's last word. */
export function parseLastWord(payload: Uint8Array, what: string, offset: number): LastWord {
  return parse(lastWordSchema, payload, { what, offset, field: 'last word' });
}

function parse<Schema extends v.GenericSchema>(
  schema: Schema,
  payload: Uint8Array,
  { what, offset, field }: { what: string; offset: number; field: string },
): v.InferOutput<Schema> {
  try {
    return v.parse(schema, JSON.parse(Buffer.from(payload).toString()));
  } catch (error) {
    throw new FormatError(what, offset, field, error instanceof Error ? error.message : String(error));
  }
}
