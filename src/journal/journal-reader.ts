import { open, type FileHandle } from 'node:fs/promises';
import { countOf } from '../bytes/amounts.js';
import { piecesOf } from '../bytes/byte-channel.js';
import { endOf, type Extent } from '../bytes/extent.js';
import { DeviceError, FormatError, LostJournalError, TruncatedStreamError } from '../errors.js';
import { ByteReader } from '../stream/frames/byte-reader.js';
import type { Announcement } from '../stream/block.js';
import {
  ANNOUNCEMENT,
  END,
  FLUSHED,
  HEADER,
  NEXT_PASS,
  parseAnnouncements,
  parseFlushed,
  parseRange,
  ZERO,
} from '../stream/frame-format.js';
import { FrameReader, oneBuffer, type Frame } from '../stream/frames/frame-reader.js';
import type { WrittenStream } from '../stream/block-writer.js';
import { readProtocolLine } from '../stream/incoming-stream.js';
import { INDEX } from '../stream/stored/index-format.js';
import { parseResumePoint, RESUME_POINT, type ResumePoint } from '../stream/mark-format.js';
import { parseHeader, type StreamHeader } from '../stream/stream-header.js';

/** Old bytes that a log holds: at `position` of its file, or zeroes if that is null. */
export interface SavedExtent extends Extent {
  readonly position: number | null;
  /** The CRC-32 of the bytes there; 0 for zeroes. */
  readonly crc: number;
  /** Where its frame starts. */
  readonly framePosition: number;
}

/** A write that a log announces. */
export interface AnnouncedWrite extends Announcement {
  /** Whether it was surely on the target's stable storage. */
  readonly isFlushed: boolean;
}

/** A place in a log: up to it, the applied stream is on stable storage. */
export interface ResumePlace {
  readonly point: ResumePoint;
  /** How much of the log is before the place, the place included: bytes, saved extents, announced writes. */
  readonly length: number;
  readonly savedCount: number;
  readonly writeCount: number;
  /** The state of the log as a stream up to here, to continue it. */
  readonly written: WrittenStream;
}

/** What an undo log says, up to its first fault. */
export interface JournalContents {
  readonly header: StreamHeader;
  /** In the order of saving, without overlaps. */
  readonly saved: readonly SavedExtent[];
  readonly writes: readonly AnnouncedWrite[];
  /** Whether it has its end frame: the apply was complete and flushed. */
  readonly isFinished: boolean;
  /** The last place at which the apply can be resumed, or null. */
  readonly resumePlace: ResumePlace | null;
}

/**
 * Reads an undo log up to its end or its torn tail. The target is overwritten only after the old bytes are below the
 * log's durable length; a crash can tear only what is after it. Throws LostJournalError if the log is shorter than that
 * or damaged below it, DeviceError, the signal's reason.
 */
export async function readJournal(
  path: string,
  durableLength: number,
  signal?: AbortSignal,
): Promise<JournalContents> {
  const file = await openLog(path);
  try {
    const contents = new Collector();
    try {
      await readFrames(new ByteReader(piecesOf(file, path), path), path, contents, signal);
    } catch (error) {
      const isBad = [TruncatedStreamError, FormatError, DeviceError].some((kind) => error instanceof kind);
      if (!isBad) throw error;
    }
    // A log may also end between two frames, which is not an error by itself.
    if (contents.goodUpTo < durableLength) {
      const { size } = await file.stat();
      const problem =
        size < durableLength ? `it was truncated to ${countOf(size, 'byte')}` : 'it is damaged from here on';
      throw new LostJournalError(
        path,
        contents.goodUpTo,
        `${problem}, but ${durableLength} bytes are needed`,
      );
    }
    return contents.result(path);
  } finally {
    await file.close();
  }
}

/** Opens a log for reading. Throws DeviceError. */
export async function openLog(path: string): Promise<FileHandle> {
  return await open(path, 'r').catch((error: unknown) => {
    throw new DeviceError(path, 'open', null, error);
  });
}

async function readFrames(
  reader: ByteReader,
  path: string,
  contents: Collector,
  signal: AbortSignal | undefined,
): Promise<void> {
  await readProtocolLine(reader, path);
  const frames = new FrameReader(reader, path);
  // The data of each frame is checked and dropped, so one buffer is enough.
  const lend = oneBuffer();
  while (!(await reader.atEnd())) {
    signal?.throwIfAborted();
    contents.take(await frames.next(lend), path);
    contents.endFrame(reader.offset, frames.chainSoFar);
  }
}

/** Gathers what the frames say. */
class Collector {
  goodUpTo = 0;
  private header: StreamHeader | null = null;
  private readonly saved: SavedExtent[] = [];
  private readonly writes: Announcement[] = [];
  private flushedWrites = 0;
  private isFinished = false;
  private resumePlace: ResumePlace | null = null;
  private point: ResumePoint | null = null;
  private frames = 0;
  private dataBytes = 0;
  private zeroBytes = 0;
  private pass = 1;
  private cursor = 0;
  private lastIndex = 0;
  /** How many of the saved extents the index frames cover. */
  private indexed = 0;
  /** The index as it was at the resume place. */
  private placeIndex = { last: 0, from: 0 };

  take(frame: Frame, path: string): void {
    const { header, position } = frame;
    if ('data' in frame) {
      // Old bytes are read again directly from the file, so our logs hold them uncompressed.
      if (frame.codec !== null)
        throw new FormatError(path, position, 'codec', `its old bytes are compressed (${frame.codec})`);
      this.save({
        offset: frame.offset,
        length: frame.data.bytes.length,
        position: frame.dataPosition,
        crc: frame.crc,
        framePosition: position,
      });
    } else if (header.type === HEADER) this.header = parseHeader(frame.payload, path, position);
    else if (header.type === ZERO)
      this.save({
        ...parseRange(frame.payload, path, position),
        ...{ position: null, crc: 0, framePosition: position },
      });
    else if (header.type === NEXT_PASS) this.startPass();
    else if (header.type === ANNOUNCEMENT)
      this.writes.push(...parseAnnouncements(frame.payload, path, position));
    else if (header.type === FLUSHED) this.flushedWrites = parseFlushed(frame.payload, path, position);
    else if (header.type === RESUME_POINT) this.point = parseResumePoint(frame.payload, path, position);
    else if (header.type === INDEX) this.startIndexAfter(position);
    else if (header.type === END) this.isFinished = true;
  }

  /** @param chain the chain checksum over all frames up to this one, which ends at `offset` */
  endFrame(offset: number, chain: Buffer): void {
    this.goodUpTo = offset;
    this.frames += 1;
    if (this.point === null) return;
    const { frames, dataBytes, zeroBytes, pass, cursor, lastIndex } = this;
    this.placeIndex = { last: lastIndex, from: this.indexed };
    this.flushedWrites = this.writes.length;
    this.resumePlace = {
      point: this.point,
      length: offset,
      savedCount: this.saved.length,
      writeCount: this.writes.length,
      written: {
        totals: { frames, dataBytes, zeroBytes, discardBytes: 0 },
        pass,
        cursor,
        chain,
        length: offset,
        index: null,
      },
    };
    this.point = null;
  }

  private save(extent: SavedExtent): void {
    this.saved.push(extent);
    if (extent.position === null) this.zeroBytes += extent.length;
    else this.dataBytes += extent.length;
    this.cursor = endOf(extent);
  }

  private startIndexAfter(position: number): void {
    this.lastIndex = position;
    this.indexed = this.saved.length;
  }

  private startPass(): void {
    this.pass += 1;
    this.cursor = 0;
  }

  result(path: string): JournalContents {
    if (this.header === null) throw new LostJournalError(path, 0, 'it has no header');
    const writes = this.writes.map((write, index) => ({ ...write, isFlushed: index < this.flushedWrites }));
    const { header, saved, isFinished } = this;
    return { header, saved, writes, isFinished, resumePlace: this.indexedPlace() };
  }

  /** The resume place, with the index that a writer needs to continue the log there. */
  private indexedPlace(): ResumePlace | null {
    const place = this.resumePlace;
    if (place === null) return null;
    const { last, from } = this.placeIndex;
    const entries = this.saved
      .slice(from, place.savedCount)
      .map(({ offset, length, framePosition }) => ({ offset, length, position: framePosition }));
    return { ...place, written: { ...place.written, index: { last, entries } } };
  }
}

/**
 * Whether a file is the log of an apply to the same target that saved nothing, and so wrote nothing, because a crash
 * came before its note was written. Throws DeviceError.
 */
export async function isUnused(path: string, { host, names, volumeSize }: StreamHeader): Promise<boolean> {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return false;
  try {
    const reader = new ByteReader(piecesOf(file, path), path);
    await readProtocolLine(reader, path);
    const frame = await new FrameReader(reader, path).next(noData);
    if (!('payload' in frame) || frame.header.type !== HEADER || !(await reader.atEnd())) return false;
    const found = parseHeader(frame.payload, path, frame.position);
    const isOfTarget = found.host === host && found.names.source === names.source;
    return found.kind === 'undo' && isOfTarget && found.volumeSize === volumeSize;
  } catch (error) {
    if (error instanceof TruncatedStreamError || error instanceof FormatError) return false;
    throw error;
  } finally {
    await file.close();
  }
}

function noData(): Promise<never> {
  return Promise.reject(new FormatError('undo log', 0, 'header', 'a data frame comes first'));
}
