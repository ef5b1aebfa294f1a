import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from '../bytes/contents.js';
import { DeviceError, LostJournalError } from '../errors.js';
import { readIfThere, writeDurably } from '../host/durable-file.js';

/** The file that holds the durable length of the log that is noted in a target's folder. */
export function lengthPath(folder: string): string {
  return join(folder, 'apply.length');
}

/**
 * How much of an undo log is on stable storage, in a file of its own. It is updated after the log's flush and before a
 * byte of the target is overwritten. So a fault below this length is damage, and a fault above it is a tail that a
 * crash tore, which belongs to writes that had not begun. One call at a time.
 */
export class DurableLength {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    /** What was noted last. Bytes. */
    public length: number,
  ) {}

  /** Begins with the length of a new log; durable when it resolves. Throws DeviceError. */
  static async create(path: string, length: number): Promise<DurableLength> {
    await writeDurably(path, textOf(length));
    return await DurableLength.continue(path, length);
  }

  /** Continues with the length to which a log will be truncated. Throws DeviceError. */
  static async continue(path: string, length: number): Promise<DurableLength> {
    const flags = constants.O_WRONLY | constants.O_DSYNC | constants.O_NOFOLLOW;
    const file = await open(path, flags).catch((error: unknown) => {
      throw new DeviceError(path, 'open', null, error);
    });
    const durable = new DurableLength(path, file, length);
    await durable.set(length).catch(async (error: unknown) => {
      await file.close();
      throw error;
    });
    return durable;
  }

  /** Sets the length; durable when it resolves. Throws DeviceError. */
  async set(length: number): Promise<void> {
    // In place, because a new file would cost several flushes. The text is within one sector, which a crash does not
    // tear.
    await this.file.write(textOf(length), 0).catch((error: unknown) => {
      throw new DeviceError(this.path, 'write', 0, error);
    });
    this.length = length;
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

/** How much of the log was on stable storage. Bytes. Throws LostJournalError if that is not known, DeviceError. */
export async function readDurableLength(folder: string): Promise<number> {
  const path = lengthPath(folder);
  const text = (await readIfThere(path)) ?? '';
  const length = Number(/^(\d{16}) /.exec(text)?.[1]);
  if (text !== textOf(length)) {
    throw new LostJournalError(path, 0, 'it does not say how much of the journal was written');
  }
  return length;
}

function textOf(length: number): string {
  const digits = `${length}`.padStart(16, '0');
  return `${digits} ${crc32(Buffer.from(digits)).toString(16).padStart(8, '0')}\n`;
}
