import { piecesOf } from '../bytes/byte-channel.js';
import { FormatError } from '../errors.js';
import { ByteReader } from '../stream/byte-reader.js';
import { ExtentOrder } from '../stream/extent-order.js';
import { blockFrameLength, HEADER } from '../stream/frame-format.js';
import { FrameReader, oneBuffer, type SmallFrame } from '../stream/frame-reader.js';
import { ForeignLineError, readProtocolLine } from '../stream/incoming-stream.js';
import { readProto3Blocks } from '../stream/proto3.js';
import { readProto4Blocks } from '../stream/proto4-blocks.js';
import { readEndFrame, type FoundEnd } from '../stream/stored/frames-at.js';
import { parseHeader, type StreamHeader } from '../stream/stream-header.js';
import type { PackedItem } from '../stream/unpack-blocks.js';
import { streamFile, type RandomFile } from './archive-index.js';
import { ExtentTable } from './extent-table.js';

/** The beginning of an archive's file. */
export interface ArchiveStart {
  readonly protocol: 3 | 4;
  /** Null in PROTO[3], which has no header. */
  readonly header: StreamHeader | null;
  /** Null in PROTO[3], and if the file does not end in an end frame. */
  readonly end: FoundEnd | null;
}

/** What a scan reports besides the blocks' positions. */
export interface ScanWatcher {
  /** Each item in turn; its data is valid until the call returns. */
  readonly item?: (item: PackedItem) => void;
  /** Each frame that a reader may skip. */
  readonly skipped?: (frame: SmallFrame) => void;
}

/**
 * Reads an archive's first line and header, including what its end says about the header. Throws TruncatedStreamError,
 * FormatError, DeviceError.
 */
export async function readStart(random: RandomFile): Promise<ArchiveStart> {
  const { header, protocol } = await begin(random);
  if (header === null) return { protocol, header, end: null };
  const end = await readEndFrame(streamFile(random));
  return { protocol, header: end?.isNameless === true ? { ...header, result: null } : header, end };
}

/**
 * Reads a whole archive once, checks everything that its format allows (for compressed blocks, their stored bytes),
 * and returns where its blocks are, in the file's order.
 *
 * Throws TruncatedStreamError if it has no end; FormatError, with the position, if it is damaged; DeviceError.
 */
export async function scanArchive(random: RandomFile, watcher: ScanWatcher = {}): Promise<ExtentTable> {
  const { reader, protocol, header, frames } = await begin(random);
  const blocks = new ExtentTable();
  const items: AsyncIterable<PackedItem> =
    frames === null
      ? readProto3Blocks(reader, oneBuffer(), random.path)
      : readProto4Blocks(frames, header, oneBuffer(), watcher.skipped);
  for await (const item of items) {
    // Nothing is read ahead here: the reader is right behind the item.
    const { offset: end } = reader;
    if (item.kind === 'resume') {
      const problem = 'it is the rest of a resumed session, without its beginning';
      throw new FormatError(random.path, end, 'R frame', problem);
    }
    watcher.item?.(item);
    const size = protocol === 3 ? proto3Size(item) : frameSize(item);
    if (size === null || !('offset' in item)) continue;
    const { offset, length } = item;
    blocks.add({ offset, length, position: end - size, blockOffset: offset, source: 0 });
  }
  if (protocol === 3) checkSectors(blocks, random.path);
  return blocks;
}

async function begin(random: RandomFile) {
  const reader = new ByteReader(piecesOf(random.file, random.path), random.path);
  const protocol = await readProtocolLine(reader, random.path).catch((error: unknown) => {
    throw error instanceof ForeignLineError ? notAnArchive(random.path) : error;
  });
  if (protocol === 3) return { reader, protocol, header: null, frames: null };
  const frames = new FrameReader(reader, random.path);
  const frame = await frames.next(oneBuffer());
  if ('payload' in frame && frame.header.type === HEADER && frame.header.flags === 0) {
    return { reader, protocol, header: parseHeader(frame.payload, random.path, frame.position), frames };
  }
  throw new FormatError(random.path, frame.position, 'first frame', 'it is not a header');
}

/** The length of a block's frame in the file; null for anything but a block. */
function frameSize(item: PackedItem): number | null {
  if (item.kind === 'zero' || item.kind === 'discard') return blockFrameLength(null);
  if (item.kind === 'data' || item.kind === 'packed') return blockFrameLength(item.data.bytes.length);
  return null;
}

function proto3Size(item: PackedItem): number | null {
  return item.kind === 'data' ? item.length : null;
}

/** The format promises nothing about its extents; archives made from them need whole sectors. */
function checkSectors(blocks: ExtentTable, path: string): void {
  const order = new ExtentOrder(endOfAll(blocks));
  for (const { offset, length, position } of blocks) {
    const problem = order.findMisfit(offset, length);
    if (problem !== null) throw new FormatError(path, position, 'record', problem);
  }
}

/** The end of the table's last extent, in whatever order they are. */
export function endOfAll(blocks: ExtentTable): number {
  let end = 0;
  for (let index = 0; index < blocks.count; index++) end = Math.max(end, blocks.endAt(index));
  return end;
}

/** The error for a file that does not begin as a stream. */
export function notAnArchive(path: string, advice = ''): FormatError {
  return new FormatError(path, 0, 'first line', `this is not a stream or snapback of lvmsync${advice}`);
}
