import type { FileHandle } from 'node:fs/promises';
import { DeviceError, FormatError } from '../errors.js';
import { ExtentOrder } from '../stream/extent-order.js';
import { readEndFrame, readIndexFrame, type FoundEnd, type StreamFile } from '../stream/stored/frames-at.js';
import type { IndexFrame } from '../stream/stored/index-format.js';
import { ExtentTable } from './extent-table.js';

/** A file for random access. */
export interface RandomFile {
  readonly path: string;
  readonly file: FileHandle;
  /** Bytes. */
  readonly size: number;
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
  const stream = streamFile(random);
  const end = await readEndFrame(stream);
  if (end === null || end.lastIndex === 0) return null;
  const frames = await readIndexFrames(stream, end);
  const order = new ExtentOrder(volumeSize);
  const blocks = new ExtentTable();
  for (const { frame, position } of frames.reverse()) {
    for (let index = 0; index < frame.count; index++) {
      const entry = frame.entry(index);
      const problem =
        order.findMisfit(entry.offset, entry.length) ?? misplaced(entry.position, position, blocks);
      if (problem !== null) throw new FormatError(random.path, position, 'index', problem);
      blocks.add({ ...entry, blockOffset: entry.offset, source: 0 });
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

/** The last frame comes first. */
async function readIndexFrames(stream: StreamFile, end: FoundEnd) {
  const frames: { readonly frame: IndexFrame; readonly position: number }[] = [];
  let before = end.position;
  for (let position = end.lastIndex; position !== 0;) {
    if (position >= before) {
      throw new FormatError(stream.path, position, 'index', 'it does not point backwards');
    }
    const frame = await readIndexFrame(stream, position);
    frames.push({ frame, position });
    before = position;
    position = frame.previous;
  }
  return frames;
}

/** The file as its frames are read. */
export function streamFile(random: RandomFile): StreamFile {
  const { path, size } = random;
  return { path, size, readAt: async (position, length) => await readAt(random, position, length) };
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
