import type { FileHandle } from 'node:fs/promises';
import { DeviceError, FormatError } from '../errors.js';
import { ExtentOrder } from '../stream/extent-order.js';
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
  type FrameHeader,
  type StreamTotals,
} from '../stream/frame-format.js';
import { canBeIndex, INDEX, lastIndexOf, parseIndex, type IndexFrame } from '../stream/index-format.js';
import { ExtentTable } from './extent-table.js';

/** A file for random access. */
export interface RandomFile {
  readonly path: string;
  readonly file: FileHandle;
  /** Bytes. */
  readonly size: number;
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
 * The blocks of a PROTO[4] file from its index, in the file's order: starts at its last frame, which has a fixed
 * length, and follows the index backwards. Null if the file has no end frame or no index: it must be scanned.
 *
 * Throws FormatError if the index is damaged, or does not cover the whole file; DeviceError.
 *
 * @param volumeSize the volume's size, from the file's header
 */
export async function readIndex(random: RandomFile, volumeSize: number): Promise<ExtentTable | null> {
  const end = await readEnd(random);
  if (end === null || end.lastIndex === 0) return null;
  const frames = await readIndexFrames(random, end);
  const order = new ExtentOrder(volumeSize);
  const blocks = new ExtentTable();
  for (const { frame, position } of frames.reverse()) {
    for (let index = 0; index < frame.count; index++) {
      const entry = frame.entry(index);
      const problem =
        order.findMisfit(entry.offset, entry.length) ?? misplaced(entry.position, position, blocks);
      if (problem !== null) throw new FormatError(random.path, position, 'index', problem);
      blocks.add(entry.offset, entry.length, entry.position, entry.offset, 0);
    }
  }
  const { dataBytes, zeroBytes, discardBytes } = end.totals;
  if (blocks.bytes !== dataBytes + zeroBytes + discardBytes) {
    const problem = `it lists ${blocks.bytes} bytes of blocks, but the end frame gives another number`;
    throw new FormatError(random.path, end.lastIndex, 'index', problem);
  }
  return blocks;
}

/** The index lists frames in the file's order, each before the index frame that lists it. */
function misplaced(position: number, indexPosition: number, before: ExtentTable): string | null {
  const last = before.count === 0 ? 0 : before.at(before.count - 1).position;
  return position > last && position < indexPosition ? null : `a frame at ${position} is out of order`;
}

/**
 * A file's end frame; null if the file does not end in one: it is cut short, or damaged. Throws FormatError,
 * DeviceError.
 */
export async function readEnd(random: RandomFile): Promise<FoundEnd | null> {
  const length = FRAME_HEADER_LENGTH + END_LENGTH + CHECKSUM_LENGTH;
  const position = random.size - length;
  if (position <= 0) return null;
  const bytes = await readAt(random, position, length);
  const head = bytes.subarray(0, FRAME_HEADER_LENGTH);
  if (head.readUInt32BE(0) !== END_LENGTH || head.toString('latin1', 4, 5) !== END) return null;
  const payload = bytes.subarray(FRAME_HEADER_LENGTH, -CHECKSUM_LENGTH);
  if (checksumOf(head, payload) !== bytes.readUInt32BE(length - CHECKSUM_LENGTH)) return null;
  const { flags, number } = parseFrameHeader(head, random.path, position);
  if ((flags & ~NAMELESS) !== 0) return null;
  const totals = parseEnd(payload, random.path, position);
  if (number !== totals.frames) {
    throw new FormatError(random.path, position, 'end frame', 'its counts do not match the frames before it');
  }
  const lastIndex = lastIndexOf(payload, random.path, position);
  return { totals, lastIndex, position, isNameless: flags === NAMELESS };
}

/** The last frame comes first. */
async function readIndexFrames(random: RandomFile, end: FoundEnd) {
  const frames: { readonly frame: IndexFrame; readonly position: number }[] = [];
  let before = end.position;
  for (let position = end.lastIndex; position !== 0;) {
    if (position >= before) {
      throw new FormatError(random.path, position, 'index', 'it does not point backwards');
    }
    const frame = await readIndexFrame(random, position);
    frames.push({ frame, position });
    before = position;
    position = frame.previous;
  }
  return frames;
}

async function readIndexFrame(random: RandomFile, position: number): Promise<IndexFrame> {
  const fail = (problem: string): never => {
    throw new FormatError(random.path, position, 'index', problem);
  };
  const head = await readAt(random, position, FRAME_HEADER_LENGTH);
  const header: FrameHeader = parseFrameHeader(head, random.path, position);
  const { payloadLength } = header;
  if (header.type !== INDEX || header.flags !== OPTIONAL || !canBeIndex(payloadLength)) {
    return fail('there is no index frame here');
  }
  const rest = await readAt(random, position + FRAME_HEADER_LENGTH, payloadLength + CHECKSUM_LENGTH);
  const payload = rest.subarray(0, payloadLength);
  if (checksumOf(head, payload) !== rest.readUInt32BE(payloadLength)) {
    return fail('its checksum is wrong: it is damaged');
  }
  return parseIndex(payload, random.path, position);
}

async function readAt({ path, file, size }: RandomFile, position: number, length: number): Promise<Buffer> {
  if (position + length > size)
    throw new FormatError(path, position, 'index', 'it points past the end of the file');
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file
      .read(bytes, done, length - done, position + done)
      .catch((error: unknown) => {
        throw new DeviceError(path, 'read', position + done, error);
      });
    if (bytesRead === 0) throw new DeviceError(path, 'read', position + done, 'the file became shorter');
    done += bytesRead;
  }
  return bytes;
}
