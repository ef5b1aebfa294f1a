import { piecesOf } from '../bytes/byte-channel.js';
import { FormatError } from '../errors.js';
import { MAX_BLOCK_LENGTH, type Proof } from '../stream/block.js';
import { ByteReader } from '../stream/frames/byte-reader.js';
import { ExtentOrder } from '../stream/extent-order.js';
import { HEADER } from '../stream/frame-format.js';
import { FrameReader, oneBuffer, type SmallFrame } from '../stream/frames/frame-reader.js';
import { ForeignLineError, readProtocolLine } from '../stream/incoming-stream.js';
import type { ItemReader } from '../stream/batches/read-batches.js';
import { Proto3Blocks } from '../stream/proto3.js';
import { Proto4Blocks } from '../stream/proto4-blocks.js';
import { readEndFrame, type FoundEnd } from '../stream/stored/frames-at.js';
import { parseHeader, type StreamHeader } from '../stream/stream-header.js';
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
  readonly proof?: (proof: Proof) => void;
  /** Each frame that a reader may skip; its payload is valid until the call returns. */
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
  const items =
    frames === null
      ? new Proto3Blocks(reader, random.path)
      : new Proto4Blocks(frames, header, watcher.skipped);
  // The data of each block is checked and dropped.
  const memory = Buffer.allocUnsafeSlow(MAX_BLOCK_LENGTH);
  for (let step = items.advance(); step !== 'end'; step = items.advance()) {
    if (step === 'bytes') await items.waitForBytes();
    else if (step === 'place') items.placeData(memory, 0);
    else if (items.mark === null) takeEntry(items, blocks, watcher);
    else if (items.mark.kind === 'resume') {
      const problem = 'it is the rest of a resumed session, without its beginning';
      throw new FormatError(random.path, reader.offset, 'R frame', problem);
    }
  }
  if (protocol === 3) checkSectors(blocks, random.path);
  return blocks;
}

function takeEntry({ entry, position }: ItemReader, blocks: ExtentTable, { proof }: ScanWatcher): void {
  const { kind, offset, length, crc = 0 } = entry;
  if (kind === 'proof') proof?.({ offset, length, crc });
  else if (kind !== 'section') blocks.add({ offset, length, position, blockOffset: offset, source: 0 });
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
