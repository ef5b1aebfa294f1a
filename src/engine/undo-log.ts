import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { ChunkSet } from '../bytes/chunk-set.js';
import { isZero } from '../bytes/contents.js';
import { endOf, type Extent } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { DeviceError, isErrno, UsageError } from '../errors.js';
import { openNew, removeDurably, syncFolderOf } from '../host/durable-file.js';
import { allocateAligned, freeAligned } from '../memory/aligned-memory.js';
import { type AnnouncedWrites, MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { WrittenStream } from '../stream/block-writer.js';
import { FrameWriter } from '../stream/frame-writer.js';
import type { ResumePoint } from '../stream/mark-format.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { DurableLength } from './durable-length.js';
import { GatheredFile } from './gathered-file.js';

/** An extent of a target whose old bytes are to be saved, with what is known about them. */
export interface PieceToSave extends Extent {
  /** All of them; without them, they are read. */
  readonly bytes?: Buffer;
  /** Their CRC-32. */
  readonly crc?: number | undefined;
  /** Whether all of them are zero. */
  readonly isEmpty?: boolean;
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

  /**
   * Saves what `target` holds in these pieces, except what was saved before, and then announces what is about to be
   * written there.
   */
  async save(
    target: BlockDevice,
    pieces: Iterable<PieceToSave>,
    writes: AnnouncedWrites | null = null,
  ): Promise<void> {
    const { frames } = this.writer;
    const { blockSize } = this.header;
    for (const piece of pieces) {
      const last = Math.ceil(endOf(piece) / blockSize);
      for (let unit = Math.floor(piece.offset / blockSize); unit < last;) {
        const count = this.takeUnsaved(unit, last);
        if (count > 0) {
          const part = this.extentOf(unit, unit + count);
          if (!this.saveKnown(piece, part)) await this.saveUnknown(target, part);
          if (frames.gathered.isFull) await this.writer.flush();
        }
        unit += Math.max(1, count);
      }
    }
    if (writes !== null) frames.announce(writes);
    await this.writer.flush();
    this.announced += writes?.count ?? 0;
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
    await this.writer.flush();
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

  /**
   * Marks the blocks of the stream from `unit` on as saved, up to `last`, to one that was saved before, or to 1 MiB.
   * Returns how many that are.
   */
  private takeUnsaved(unit: number, last: number): number {
    const most = Math.min(last, unit + Math.max(1, Math.floor(MAX_BLOCK_LENGTH / this.header.blockSize)));
    let end = unit;
    while (end < most && this.saved.add(end)) end++;
    return end - unit;
  }

  private extentOf(unit: number, end: number): Extent {
    const { blockSize, volumeSize } = this.header;
    const offset = unit * blockSize;
    return { offset, length: Math.min(end * blockSize, volumeSize) - offset };
  }

  /** False: the bytes of the piece are not known, or the part is not in it. */
  private saveKnown({ offset, bytes, crc, isEmpty }: PieceToSave, part: Extent): boolean {
    const start = part.offset - offset;
    if (bytes === undefined || start < 0 || start + part.length > bytes.length) return false;
    if (part.length === bytes.length) this.putOld(part.offset, bytes, crc, isEmpty);
    else this.putOld(part.offset, bytes.subarray(start, start + part.length));
    return true;
  }

  private async saveUnknown(target: BlockDevice, { offset, length }: Extent): Promise<void> {
    const bytes = this.buffer.subarray(0, length);
    await target.readAt(bytes, offset);
    this.putOld(offset, bytes);
    // The buffer is used again.
    await this.writer.flush();
  }

  private putOld(offset: number, bytes: Buffer, crc?: number, isEmpty = isZero(bytes)): void {
    const { frames } = this.writer;
    if (offset < this.cursor) frames.nextPass();
    this.cursor = offset + bytes.length;
    if (isEmpty) frames.zero(offset, bytes.length);
    else frames.data(offset, bytes, { crc });
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
