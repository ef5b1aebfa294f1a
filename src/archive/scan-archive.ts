import { type LendBuffer, piecesOf } from '../bytes/byte-channel.js';
import { FormatError } from '../errors.js';
import { ByteReader } from '../stream/byte-reader.js';
import { ExtentOrder } from '../stream/extent-order.js';
import {
  CHECKSUM_LENGTH,
  DATA_PREFIX_LENGTH,
  FRAME_HEADER_LENGTH,
  HEADER,
  MAX_PAYLOAD_LENGTH,
  RANGE_LENGTH,
} from '../stream/frame-format.js';
import { FrameReader, type SmallFrame } from '../stream/frame-reader.js';
import { readProtocolLine } from '../stream/incoming-stream.js';
import { readProto3Blocks } from '../stream/proto3.js';
import { readProto4Blocks } from '../stream/proto4-blocks.js';
import { parseHeader, type StreamHeader } from '../stream/stream-header.js';
import type { PackedItem } from '../stream/unpack-blocks.js';
import { readEnd, type FoundEnd, type RandomFile } from './archive-index.js';
import { ExtentTable } from './extent-table.js';

/** The beginning of an archive's file. */
export interface ArchiveStart {
  readonly protocol: 3 | 4;
  /** Null in PROTO[3], which has none. */
  readonly header: StreamHeader | null;
  /** Null in PROTO[3], and where the file ends in none. */
  readonly end: FoundEnd | null;
}

/** What a scan looks at beside the blocks' places. */
export interface ScanWatcher {
  /** Each item in its turn; data is valid until the call returns. */
  readonly item?: (item: PackedItem) => void;
  /** Each frame that a reader may skip. */
  readonly skipped?: (frame: SmallFrame) => void;
}

/**
 * Reads an archive's first line and header, with what its end says of the header. Throws TruncatedStreamError,
 * FormatError, DeviceError.
 */
export async function readStart(random: RandomFile): Promise<ArchiveStart> {
  const { header, protocol } = await begin(random);
  if (header === null) return { protocol, header, end: null };
  const end = await readEnd(random);
  return { protocol, header: end?.isNameless === true ? { ...header, result: null } : header, end };
}

/**
 * Reads a whole archive once, checks all that its format lets one check (of compressed blocks, their stored bytes),
 * and tells where its blocks are, in the file's order.
 *
 * Throws TruncatedStreamError where it has no end; FormatError, which says where, where it is damaged; DeviceError.
 */
export async function scanArchive(random: RandomFile, watcher: ScanWatcher = {}): Promise<ExtentTable> {
  const { reader, protocol, header, frames } = await begin(random);
  const blocks = new ExtentTable();
  const items: AsyncIterable<PackedItem> =
    frames === null
      ? readProto3Blocks(reader, oneBuffer(), random.path)
      : readProto4Blocks(reader, frames, header, oneBuffer(), random.path, watcher.skipped);
  for await (const item of items) {
    // Nothing is read ahead here: the reader stands right behind the item.
    const { offset: end } = reader;
    if (item.kind === 'resume') {
      const problem = 'it is the rest of a session whose beginning is not here';
      throw new FormatError(random.path, end, 'R frame', problem);
    }
    watcher.item?.(item);
    const size = protocol === 3 ? proto3Size(item) : frameSize(item);
    if (size !== null && 'offset' in item) blocks.add(item.offset, item.length, end - size, item.offset, 0);
  }
  if (protocol === 3) checkSectors(blocks, random.path);
  return blocks;
}

async function begin(random: RandomFile) {
  const reader = new ByteReader(piecesOf(random.file, random.path), random.path);
  const protocol = await readProtocolLine(reader, random.path);
  if (protocol === 3) return { reader, protocol, header: null, frames: null };
  const frames = new FrameReader(reader, random.path);
  const frame = await frames.next(oneBuffer());
  if ('payload' in frame && frame.header.type === HEADER && frame.header.flags === 0) {
    return { reader, protocol, header: parseHeader(frame.payload, random.path, frame.position), frames };
  }
  throw new FormatError(random.path, frame.position, 'first frame', 'it is no header');
}

/** How long a block's frame is in the file; null of what is no block. */
function frameSize(item: PackedItem): number | null {
  const around = FRAME_HEADER_LENGTH + CHECKSUM_LENGTH;
  if (item.kind === 'zero' || item.kind === 'discard') return around + RANGE_LENGTH;
  if (item.kind === 'data' || item.kind === 'packed')
    return around + DATA_PREFIX_LENGTH + item.data.bytes.length;
  return null;
}

function proto3Size(item: PackedItem): number | null {
  return item.kind === 'data' ? item.length : null;
}

/** Each block is looked at and dropped before the next is read: one buffer does for all. */
function oneBuffer(): LendBuffer {
  let buffer = Buffer.alloc(0);
  return (length) => {
    if (buffer.length === 0) buffer = Buffer.alloc(MAX_PAYLOAD_LENGTH);
    return Promise.resolve({ bytes: buffer.subarray(0, length), release: () => undefined });
  };
}

/** The format promises nothing of its extents; what is made of them must lie in whole sectors. */
function checkSectors(blocks: ExtentTable, path: string): void {
  const order = new ExtentOrder(endOfAll(blocks));
  for (const { offset, length, position } of blocks) {
    const problem = order.findMisfit(offset, length);
    if (problem !== null) throw new FormatError(path, position, 'record', problem);
  }
}

/** Where the last extent of a table ends, in whatever order they are. */
export function endOfAll(blocks: ExtentTable): number {
  let end = 0;
  for (let index = 0; index < blocks.count; index++) end = Math.max(end, blocks.endAt(index));
  return end;
}
