import * as v from 'valibot';
import { SECTOR } from '../bytes/extent.js';
import { FormatError } from '../errors.js';

/** The header's JSON may take this many bytes. */
export const MAX_HEADER_LENGTH = 65_536;
// Whatever a header says may end up on a terminal.
const text = (limit: number) =>
  v.pipe(v.string(), v.maxLength(limit), v.regex(/^[^\p{Cc}]*$/u, 'control characters'));
const bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const identity = v.nullable(v.pipe(text(255), v.minLength(1)));

/**
 * The growing table that names changes, and how many entries it had when it was read: all that one reading names, a
 * later one names too.
 */
export const tableSchema = v.object({ id: v.pipe(text(255), v.minLength(1)), entries: bytes });

/** What names the changes of a stream, and how much of it was read. */
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
 * What a PROTO[4] stream is: sizes in bytes, identities of the states that it leads from (`base`) and to
 * (`result`), or null where a state has none; whether what a full one leaves out was `compared` with the target; which
 * `table` names its changes, and how many entries of it; the
 * granularity of the blocks in sections (`unit`); in a session, how often its sender gives a sign of life
 * (`heartbeat`, seconds) and which run it belongs to; of an undo from a state without a name, what its target's record
 * of that state has as well (`mark`). docs/stream-format.md describes each field.
 */
export type StreamHeader = v.InferOutput<typeof headerSchema>;

/** Throws a plain Error where a reader would refuse it: that is our own bug. Odd characters of names are replaced. */
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

/** A path may hold any character; what a reader refuses must not end a transfer. */
function toText(words: string, limit: number): string {
  return words.slice(0, limit).replace(/\p{Cc}/gu, '\ufffd');
}

/** Throws FormatError where the payload is not a header. Unknown fields are left out. */
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
