import * as v from 'valibot';
import { SECTOR } from '../bytes/extent.js';
import { FormatError } from '../errors.js';

/** The longest JSON of a header. Bytes. */
export const MAX_HEADER_LENGTH = 65_536;
// A header's text may be shown on a terminal.
const text = (limit: number) =>
  v.pipe(v.string(), v.maxLength(limit), v.regex(/^[^\p{Cc}]*$/u, 'control characters'));
const bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const identity = v.nullable(v.pipe(text(255), v.minLength(1)));

/**
 * The growing table that lists changes, and how many entries it had when it was read: a later reading contains all
 * entries of an earlier one.
 */
export const tableSchema = v.object({ id: v.pipe(text(255), v.minLength(1)), entries: bytes });

/** The table that lists the changes of a stream, and how many entries were read. */
export type ChangeTable = Readonly<v.InferOutput<typeof tableSchema>>;

const headerSchema = v.object({
  kind: v.picklist(['changes', 'undo', 'full']),
  volumeSize: bytes,
  blockSize: v.pipe(bytes, v.minValue(SECTOR), v.multipleOf(SECTOR)),
  unit: v.exactOptional(v.pipe(bytes, v.minValue(SECTOR), v.multipleOf(SECTOR))),
  base: identity,
  result: identity,
  expectedBytes: bytes,
  mappedBytes: v.exactOptional(bytes),
  sample: v.exactOptional(v.object({ changed: bytes, unchanged: bytes })),
  compared: v.exactOptional(v.boolean()),
  table: v.exactOptional(tableSchema),
  heartbeat: v.exactOptional(v.pipe(bytes, v.minValue(1), v.maxValue(3600))),
  run: v.exactOptional(v.pipe(text(64), v.minLength(1))),
  mark: v.exactOptional(v.pipe(text(64), v.minLength(1))),
  names: v.object({ source: v.exactOptional(text(4096)), origin: v.exactOptional(text(4096)) }),
  host: text(255),
  time: v.pipe(text(64), v.isoTimestamp()),
  writer: text(255),
});

/**
 * The header of a PROTO[4] stream: sizes in bytes; identities of the states that it starts from (`base`) and leads to
 * (`result`), or null if a state has no identity; whether what a full stream leaves out was `compared` with the
 * target; which `table` lists its changes, and how many entries of it; the granularity of the blocks in sections
 * (`unit`); in a session, how often its sender sends a keepalive (`heartbeat`, seconds) and which run it belongs to;
 * in an undo from a state without a name, a `mark` that the target's record of that state also has.
 * docs/stream-format.md describes each field.
 */
export type StreamHeader = v.InferOutput<typeof headerSchema>;

/**
 * Throws a plain Error if a reader would refuse it: that is a bug of ours. Control characters in names are replaced.
 */
export function encodeHeader(header: StreamHeader): Buffer {
  const { source, origin } = header.names;
  const names = {
    ...(source === undefined ? {} : { source: toText(source, 4096) }),
    ...(origin === undefined ? {} : { origin: toText(origin, 4096) }),
  };
  const { host, writer } = header;
  const made = { ...header, names, host: toText(host, 255), writer: toText(writer, 255) };
  return Buffer.from(JSON.stringify(v.parse(headerSchema, made)));
}

/** A path may contain any character; a name that a reader would refuse must not end a transfer. */
function toText(words: string, limit: number): string {
  return words.slice(0, limit).replace(/\p{Cc}/gu, '\ufffd');
}

/** Throws FormatError if the payload is not a header. Unknown fields are left out. */
export function parseHeader(payload: Uint8Array, what: string, offset: number): StreamHeader {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(payload)));
  } catch {
    throw new FormatError(what, offset, 'header', 'it is not JSON');
  }
  const result = v.safeParse(headerSchema, json);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new FormatError(what, offset, 'header', `${v.getDotPath(issue) ?? 'it'}: ${issue.message}`);
}
