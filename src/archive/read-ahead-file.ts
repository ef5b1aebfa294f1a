import { open, type FileHandle } from 'node:fs/promises';
import { DeviceError } from '../errors.js';

/** A part of a file in memory. */
interface Window {
  readonly position: number;
  readonly bytes: Buffer;
  /** How many of the bytes are from the file. */
  length: number;
}

/**
 * A file that is read in pieces at mostly ascending positions: small pieces from a window, while the next window is
 * read ahead; large pieces directly into their memory. Uses two windows of memory. One call at a time.
 */
export class ReadAheadFile {
  private window: Window = { position: 0, bytes: Buffer.alloc(0), length: 0 };
  private spare: Buffer | null = null;
  private ahead: { readonly position: number; readonly read: Promise<Window> } | null = null;

  private constructor(
    readonly path: string,
    private readonly windowSize: number,
    /** Null if the file is opened for each window. */
    private readonly file: FileHandle | null,
  ) {}

  /**
   * @param staysOpen whether the file stays open until `close`, or is open only while a window is read: not all of
   * very many files can be open at once. Throws DeviceError.
   */
  static async open(path: string, windowSize: number, staysOpen: boolean): Promise<ReadAheadFile> {
    return new ReadAheadFile(path, windowSize, staysOpen ? await openFile(path) : null);
  }

  /** Fills `bytes` from `position`; returns how many there were, fewer at the file's end. Throws DeviceError. */
  async fill(bytes: Uint8Array, position: number): Promise<number> {
    let done = this.copy(bytes, 0, position);
    while (done < bytes.length) {
      const at = position + done;
      const rest = bytes.length - done;
      if (rest >= this.windowSize && this.ahead?.position !== at)
        return done + (await this.read(bytes, done, at));
      await this.moveTo(at);
      const count = this.copy(bytes, done, at);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  async close(): Promise<void> {
    await this.ahead?.read.catch(() => undefined);
    await this.file?.close();
  }

  private copy(bytes: Uint8Array, done: number, position: number): number {
    const { window } = this;
    const from = position - window.position;
    if (from < 0 || from >= window.length) return 0;
    const count = Math.min(window.length - from, bytes.length - done);
    window.bytes.copy(bytes, done, from, from + count);
    return count;
  }

  private async moveTo(position: number): Promise<void> {
    const { ahead } = this;
    const old = this.window.bytes;
    if (ahead !== null) {
      this.ahead = null;
      const window = await ahead.read;
      const isIn = position >= window.position && position < window.position + window.length;
      this.window = isIn ? window : await this.readWindow(window.bytes, position);
    } else {
      this.window = await this.readWindow(this.spare ?? Buffer.allocUnsafeSlow(this.windowSize), position);
      this.spare = null;
    }
    if (this.window.length < this.windowSize) {
      // The file's end.
      this.spare = old.length === 0 ? null : old;
      return;
    }
    const next = this.window.position + this.windowSize;
    const read = this.readWindow(old.length === 0 ? Buffer.allocUnsafeSlow(this.windowSize) : old, next);
    // The failure is reported when the bytes are needed, or never.
    read.catch(() => undefined);
    this.ahead = { position: next, read };
  }

  private async readWindow(bytes: Buffer, position: number): Promise<Window> {
    return { position, bytes, length: await this.read(bytes, 0, position) };
  }

  private async read(bytes: Uint8Array, from: number, position: number): Promise<number> {
    if (this.file !== null) return await this.readFrom(this.file, bytes, from, position);
    const file = await openFile(this.path);
    return await this.readFrom(file, bytes, from, position).finally(() => file.close());
  }

  private async readFrom(
    file: FileHandle,
    bytes: Uint8Array,
    from: number,
    position: number,
  ): Promise<number> {
    let done = from;
    while (done < bytes.length) {
      const at = position + done - from;
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, at).catch((error: unknown) => {
        throw new DeviceError(this.path, 'read', at, error);
      });
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done - from;
  }
}

async function openFile(path: string): Promise<FileHandle> {
  return await open(path, 'r').catch((error: unknown) => {
    throw new DeviceError(path, 'open', null, error);
  });
}
