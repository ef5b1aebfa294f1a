import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { ChunkSet } from '../bytes/chunk-set.js';
import { isZero } from '../bytes/contents.js';
import { endOf, type Extent } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { DeviceError, isErrno, UsageError } from '../errors.js';
import { openNew, removeDurably, syncFolderOf } from '../host/durable-file.js';
import { allocateAligned, freeAligned } from '../memory/aligned-memory.js';
import { MAX_BLOCK_LENGTH, type Announcement } from '../stream/block.js';
import { FrameWriter, type WrittenStream } from '../stream/frame-writer.js';
import type { ResumePoint } from '../stream/mark-format.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { DurableLength } from './durable-length.js';
import { GatheredFile } from './gathered-file.js';

/** Bytes of a target that are already read. */
export interface KnownBytes {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Their CRC-32, if known. */
  readonly crc?: number | undefined;
}

/** A log that was read up to a place. */
export interface ReadLog {
  readonly header: StreamHeader;
  readonly saved: readonly Extent[];
  readonly place: {
    readonly length: number;
    readonly savedCount: number;
    readonly writeCount: number;
    readonly written: WrittenStream;
  };
}

/** The open files of a log: itself, and how much of it is durable. */
interface LogFiles {
  readonly path: string;
  readonly file: FileHandle;
  readonly gathered: GatheredFile;
  readonly durable: DurableLength;
}

/**
 * A stream of kind `undo` that grows while a target is written: the bytes that the target held before, each once, and
 * what is about to be written in their place. With its end frame it is a snapback; without it, `recover` uses it. One
 * call at a time, except `sync`, which may run during others.
 */
export class UndoLog {
  private readonly saved = new ChunkSet();
  private readonly buffer = allocateAligned(MAX_BLOCK_LENGTH);
  /** How many writes were announced. */
  announced = 0;
  private cursor = 0;
  /** The length of the complete frames that are written to the file. Bytes. */
  private handedOver: number;

  readonly path: string;
  private readonly file: FileHandle;
  private readonly gathered: GatheredFile;
  private readonly durable: DurableLength;

  private constructor(
    { path, file, gathered, durable }: LogFiles,
    private readonly header: StreamHeader,
    private readonly writer: FrameWriter,
  ) {
    this.path = path;
    this.file = file;
    this.gathered = gathered;
    this.durable = durable;
    this.handedOver = durable.length;
  }

  /**
   * Begins a log in a new file that only its owner can read. Its durable length is noted in `lengthPath`. With an index
   * if the log is to be kept. Throws UsageError if the file exists, DeviceError; then no file is left.
   */
  static async create(
    path: string,
    lengthPath: string,
    header: StreamHeader,
    indexed = false,
  ): Promise<UndoLog> {
    const file = await openNew(path).catch((error: unknown) => {
      if (isErrno(error, 'EEXIST')) {
        throw unfinishedSnapback(path);
      }
      throw new DeviceError(path, 'open', null, error);
    });
    try {
      const gathered = new GatheredFile(path, file);
      const writer = new FrameWriter(gathered, { indexed });
      await writer.start(header);
      await gathered.handOver();
      await gathered.sync();
      await syncFolderOf(path);
      const durable = await DurableLength.create(lengthPath, writer.bytesWritten);
      return new UndoLog({ path, file, gathered, durable }, header, writer);
    } catch (error) {
      await file.close();
      await removeDurably(path).catch(() => undefined);
      throw error;
    }
  }

  /** Continues a log at a place up to which it was read, and durably cuts off what follows. Throws DeviceError. */
  static async continue(
    path: string,
    lengthPath: string,
    { header, saved, place }: ReadLog,
  ): Promise<UndoLog> {
    // Before the cut: otherwise, after a crash, the cut would look like damage.
    const durable = await DurableLength.continue(lengthPath, place.length);
    const file = await openCut(path, place.length).catch(async (error: unknown) => {
      await durable.close();
      throw error;
    });
    const gathered = new GatheredFile(path, file, place.length);
    const writer = await FrameWriter.continue(gathered, header.volumeSize, place.written);
    const log = new UndoLog({ path, file, gathered, durable }, header, writer);
    log.cursor = place.written.cursor;
    log.announced = place.writeCount;
    for (const extent of saved.slice(0, place.savedCount)) log.markSaved(extent);
    return log;
  }

  /** Whether `extent` can be saved from its own bytes alone, without those around it. */
  isWhole(extent: Extent): boolean {
    const { blockSize, volumeSize } = this.header;
    const end = endOf(extent);
    return extent.offset % blockSize === 0 && (end % blockSize === 0 || end === volumeSize);
  }

  /** Saves what `target` holds in an extent, except what was saved before; `known` avoids reading it again. */
  async save(target: BlockDevice, extent: Extent, known: KnownBytes | null): Promise<void> {
    for (const part of this.unsavedParts(extent)) {
      if (part.offset < this.cursor) await this.writer.nextPass();
      this.cursor = endOf(part);
      const { bytes, crc } = takeKnown(known, part) ?? (await this.readOld(target, part));
      if (isZero(bytes)) await this.writer.zero(part.offset, part.length);
      else await this.writer.data(part.offset, bytes, { crc });
    }
  }

  /** Announces what is about to be written. */
  async announce(writes: readonly Announcement[]): Promise<void> {
    await this.writer.announce(writes);
    this.announced += writes.length;
  }

  /** Notes that this many of the announced writes, from the first on, are on the target's stable storage. */
  async markFlushed(writes: number): Promise<void> {
    await this.writer.markFlushed(writes);
  }

  /** Notes up to where the applied stream is on the target's stable storage; durable when it resolves. */
  async markResumePoint(point: ResumePoint): Promise<void> {
    await this.writer.markResumePoint(point);
    await this.handOver();
    await this.sync();
  }

  /** Writes all of the log to the file, for `sync` to make it durable. */
  async handOver(): Promise<void> {
    const length = this.writer.bytesWritten;
    await this.gathered.handOver();
    this.handedOver = length;
  }

  /**
   * Resolves when everything handed over before is on stable storage, and this is noted. A failure of any call is
   * final.
   */
  async sync(): Promise<void> {
    const length = this.handedOver;
    await this.gathered.sync();
    await this.durable.set(length);
  }

  /**
   * Writes the end frame, which says that the apply is complete; durable when it resolves.
   *
   * @param isNameless whether it turned out that the target did not hold the state that the header names as the result
   */
  async end(isNameless = false): Promise<void> {
    await this.writer.finish(isNameless);
    await this.handOver();
    await this.sync();
  }

  async close(): Promise<void> {
    freeAligned(this.buffer);
    // What can no longer be written belongs to writes that have not begun.
    await this.gathered.handOver().catch(() => undefined);
    await this.file.close();
    await this.durable.close();
  }

  private markSaved(extent: Extent): void {
    const { blockSize } = this.header;
    const last = Math.ceil(endOf(extent) / blockSize);
    for (let unit = Math.floor(extent.offset / blockSize); unit < last; unit++) this.saved.add(unit);
  }

  private async readOld(target: BlockDevice, { offset, length }: Extent): Promise<KnownBytes> {
    const bytes = this.buffer.subarray(0, length);
    await target.readAt(bytes, offset);
    return { offset, bytes };
  }

  /** The extent in whole blocks of the stream, without those that were saved before, in parts of at most 1 MiB. */
  private *unsavedParts(extent: Extent): Generator<Extent> {
    const { blockSize, volumeSize } = this.header;
    const last = Math.ceil(endOf(extent) / blockSize);
    let start = Math.floor(extent.offset / blockSize);
    for (let unit = start; unit < last; unit++) {
      const isNew = this.saved.add(unit);
      const isFull = (unit - start + 1) * blockSize > MAX_BLOCK_LENGTH;
      if (unit > start && (!isNew || isFull)) yield clip(start, unit);
      if (!isNew) start = unit + 1;
      else if (isFull) start = unit;
    }
    if (start < last) yield clip(start, last);

    function clip(from: number, to: number): Extent {
      const offset = from * blockSize;
      return { offset, length: Math.min(to * blockSize, volumeSize) - offset };
    }
  }
}

/** The error for a snapback whose temporary name is taken. */
export function unfinishedSnapback(path: string): UsageError {
  return new UsageError(
    `${path}: an unfinished snapback is here: recover its target first; if there is nothing to recover, move it away`,
  );
}

/** Opens a file for writing and truncates it to a length in bytes. Throws DeviceError. */
async function openCut(path: string, length: number): Promise<FileHandle> {
  const file = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    throw new DeviceError(path, 'open', null, error);
  });
  try {
    await file.truncate(length);
    await file.sync();
    return file;
  } catch (error) {
    await file.close();
    throw new DeviceError(path, 'write', length, error);
  }
}

function takeKnown(known: KnownBytes | null, { offset, length }: Extent): KnownBytes | null {
  if (known === null || offset < known.offset || offset + length > known.offset + known.bytes.length)
    return null;
  if (length === known.bytes.length) return known;
  return { offset, bytes: known.bytes.subarray(offset - known.offset, offset - known.offset + length) };
}
