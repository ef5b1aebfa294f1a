import { randomBytes } from 'node:crypto';
import { link, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { GatheredFile } from '../engine/gathered-file.js';
import { DeviceError, isErrno, UsageError } from '../errors.js';
import { describeRefusal, isThere, openNew, removeDurably, syncFolderOf } from '../host/durable-file.js';
import { FrameWriter } from '../stream/frame-writer.js';
import type { StreamHeader } from '../stream/stream-header.js';

/** The name of an archive until it is complete; the final name is part of it. No reader mistakes it for an archive. */
export const UNFINISHED = /^\..*\.[0-9a-f]{16}\.new$/;

/**
 * An archive that is being written. It gets its name only when all of it is on stable storage; a crash leaves at most
 * a hidden file next to it, `.NAME.….new`. It never replaces a file.
 */
export class NewArchive {
  /** Writes the stream, with an index. Its `finish` is called by `commit`. */
  readonly writer: FrameWriter;

  private constructor(
    readonly path: string,
    private readonly unfinished: string,
    private readonly file: FileHandle,
    private readonly gathered: GatheredFile,
  ) {
    this.writer = new FrameWriter(gathered, { indexed: true });
  }

  /** Creates it, readable by its owner only. Throws UsageError if the file exists, DeviceError. */
  static async create(path: string, header: StreamHeader): Promise<NewArchive> {
    if (await isThere(path)) throw alreadyThere(path);
    const name = `.${basename(path)}.${randomBytes(8).toString('hex')}.new`;
    const unfinished = join(dirname(path), name);
    const file = await openNew(unfinished).catch((error: unknown) => {
      throw new DeviceError(path, 'open', null, describeRefusal(error));
    });
    const archive = new NewArchive(path, unfinished, file, new GatheredFile(path, file));
    try {
      await archive.writer.start(header);
      return archive;
    } catch (error) {
      await archive.abandon();
      throw error;
    }
  }

  /** Ends the stream, makes all of it durable and gives it its name. Returns its size in bytes. Throws as `create`. */
  async commit(): Promise<number> {
    await this.writer.finish();
    await this.gathered.handOver();
    await this.gathered.sync();
    // Unlike a rename, this cannot replace a file that was created meanwhile.
    await link(this.unfinished, this.path).catch((error: unknown) => {
      throw isErrno(error, 'EEXIST')
        ? alreadyThere(this.path)
        : new DeviceError(this.path, 'write', null, error);
    });
    await syncFolderOf(this.path);
    await this.file.close();
    await removeDurably(this.unfinished);
    return this.writer.bytesWritten;
  }

  /** Removes what was written. */
  async abandon(): Promise<void> {
    await this.file.close().catch(() => undefined);
    await unlink(this.unfinished).catch(() => undefined);
  }
}

/**
 * Writes an archive from beginning to end, or leaves nothing. Returns its size in bytes, and what the work returned.
 */
export async function writeArchive<T>(
  path: string,
  header: StreamHeader,
  work: (writer: FrameWriter) => Promise<T>,
): Promise<{ readonly size: number; readonly result: T }> {
  const archive = await NewArchive.create(path, header);
  try {
    const result = await work(archive.writer);
    return { size: await archive.commit(), result };
  } catch (error) {
    await archive.abandon();
    throw error;
  }
}

function alreadyThere(path: string): UsageError {
  return new UsageError(
    `${path}: already exists; an archive never overwrites a file: give another name, or remove it first`,
  );
}
