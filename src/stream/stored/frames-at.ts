import { FormatError } from '../../errors.js';
import {
  CHECKSUM_LENGTH,
  checksumOf,
  END,
  END_LENGTH,
  FRAME_HEADER_LENGTH,
  NAMELESS,
  OPTIONAL,
  parseEnd,
  parseFrameHeader,
  type StreamTotals,
} from '../frame-format.js';
import { canBeIndex, INDEX, lastIndexOf, parseIndex, type IndexFrame } from './index-format.js';

/** A stream in a file that can be read in parts. */
export interface StreamFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Throws if the file has fewer bytes. */
  readonly readAt: (position: number, length: number) => Promise<Buffer>;
}

/** An end frame, checked as far as possible without the frames before it. */
export interface FoundEnd {
  readonly totals: StreamTotals;
  readonly lastIndex: number;
  readonly position: number;
  /** Whether the stream does not lead to the state that its header names. */
  readonly isNameless: boolean;
}

/**
 * A file's end frame, which has a fixed length; null if the file does not end in one: it is cut short, or damaged.
 * Throws FormatError, and what reading throws.
 */
export async function readEndFrame({ path, size, readAt }: StreamFile): Promise<FoundEnd | null> {
  const length = FRAME_HEADER_LENGTH + END_LENGTH + CHECKSUM_LENGTH;
  const position = size - length;
  if (position <= 0) return null;
  const bytes = await readAt(position, length);
  const head = bytes.subarray(0, FRAME_HEADER_LENGTH);
  if (head.readUInt32BE(0) !== END_LENGTH || head.toString('latin1', 4, 5) !== END) return null;
  const payload = takePayload(head, bytes.subarray(FRAME_HEADER_LENGTH));
  if (payload === null) return null;
  const { flags, number } = parseFrameHeader(head, path, position);
  if ((flags & ~NAMELESS) !== 0) return null;
  const totals = parseEnd(payload, path, position);
  if (number !== totals.frames) {
    throw new FormatError(path, position, 'end frame', 'its counts do not match the frames before it');
  }
  const lastIndex = lastIndexOf(payload, path, position);
  return { totals, lastIndex, position, isNameless: flags === NAMELESS };
}

/** The index frame that starts at a position. Throws FormatError, and what reading throws. */
export async function readIndexFrame({ path, readAt }: StreamFile, position: number): Promise<IndexFrame> {
  const fail = (problem: string): never => {
    throw new FormatError(path, position, 'index', problem);
  };
  const head = await readAt(position, FRAME_HEADER_LENGTH);
  const { payloadLength, type, flags } = parseFrameHeader(head, path, position);
  if (type !== INDEX || flags !== OPTIONAL || !canBeIndex(payloadLength)) {
    return fail('there is no index frame here');
  }
  const rest = await readAt(position + FRAME_HEADER_LENGTH, payloadLength + CHECKSUM_LENGTH);
  const payload = takePayload(head, rest) ?? fail('its checksum is wrong: it is damaged');
  return parseIndex(payload, path, position);
}

/** The payload in what follows a frame's header; null if the checksum is wrong. */
function takePayload(head: Buffer, rest: Buffer): Buffer | null {
  const payload = rest.subarray(0, -CHECKSUM_LENGTH);
  return checksumOf(head, payload) === rest.readUInt32BE(payload.length) ? payload : null;
}
