import { open, type FileHandle } from 'node:fs/promises';
import { DeviceError } from '../errors.js';

/** What is read at once after a jump. Bytes. */
const FIRST_WINDOW = 8 * 1024;
/** From this length on, the next window is read ahead: so much of the last ones was used that it will be needed. */
const READ_AHEAD_FROM = 64 * 1024;

/** A part of a file in memory. */
interface Window {
  readonly position: number;
  readonly size: number;
  /** As many as its size, or more. */
  readonly bytes: Buffer;
  /** How many of the bytes are from the file. */
  length: number;
}

/**
 * A file that is read in pieces at mostly ascending positions: small pieces from a window, while the next window is
 * read ahead; large pieces directly into their memory. How long a window is follows from how much of the last one was
 * used: short where the pieces are scattered, because the rest would be read for nothing. Uses two windows of memory.
 * One call at a time.
 */
export class ReadAheadFile {
  private window: Window = { position: 0, size: 0, bytes: Buffer.alloc(0), length: 0 };
  private spare: Buffer | null = null;
  private ahead: { readonly window: Window; readonly read: Promise<void> } | null = null;
  /** How long the next window is. */
  private size: number;
  /** How much of the window was used. */
  private used = 0;
  /** Where the last piece ended. */
  private end = 0;

  private constructor(
    readonly path: string,
    private readonly mostSize: number,
    /** Null if the file is opened for each window. */
    private readonly file: FileHandle | null,
  ) {
    this.size = Math.min(FIRST_WINDOW, mostSize);
  }

  /**
   * @param mostSize how long a window may become
   * @param staysOpen whether the file stays open until `close`, or is open only while a window is read: not all of
   * very many files can be open at once. Throws DeviceError.
   */
  static async open(path: string, mostSize: number, staysOpen: boolean): Promise<ReadAheadFile> {
    return new ReadAheadFile(path, mostSize, staysOpen ? await openFile(path) : null);
  }

  /** Fills `bytes` from `position`; returns how many there were, fewer at the file's end. Throws DeviceError. */
  async fill(bytes: Uint8Array, position: number): Promise<number> {
    let done = this.copy(bytes, 0, position);
    while (done < bytes.length) {
      const at = position + done;
      const rest = bytes.length - done;
      if (rest >= this.size && this.ahead?.window.position !== at) {
        done += await this.read(bytes, done, at);
        break;
      }
      await this.moveTo(at);
      const count = this.copy(bytes, done, at);
      if (count === 0) break;
      done += count;
    }
    this.end = position + done;
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
    this.used += count;
    return count;
  }

  private async moveTo(position: number): Promise<void> {
    const { ahead, window: old } = this;
    const isNear = this.resize(position);
    this.ahead = null;
    if (ahead !== null && isWithin(ahead.window, position)) {
      await ahead.read;
      this.window = ahead.window;
    } else {
      // It does not matter if it fails.
      await ahead?.read.catch(() => undefined);
      const window = this.newWindow(position, ahead?.window.bytes ?? this.spare);
      await this.load(window);
      this.window = window;
    }
    this.spare = old.bytes;
    const { position: start, size, length } = this.window;
    const isLong = this.size >= Math.min(READ_AHEAD_FROM, this.mostSize);
    // A shorter one is at the file's end.
    if (!isNear || !isLong || length < size) return;
    const window = this.newWindow(start + size, this.spare);
    this.spare = null;
    const read = this.load(window);
    // The failure is reported when the bytes are needed, or never.
    read.catch(() => undefined);
    this.ahead = { window, read };
  }

  /** Decides how long the next window is, by whether it follows the last one, and how much of that was used. */
  private resize(position: number): boolean {
    const { window, end, size, mostSize, used } = this;
    const reached = Math.max(window.position + window.length, end);
    const isNear = position >= reached && position - reached < size;
    this.size = Math.min(mostSize, Math.max(FIRST_WINDOW, isNear ? 2 * used : 0));
    this.used = 0;
    return isNear;
  }

  private newWindow(position: number, memory: Buffer | null): Window {
    const { size } = this;
    const bytes = memory !== null && memory.length >= size ? memory : Buffer.allocUnsafeSlow(size);
    return { position, size, bytes, length: 0 };
  }

  private async load(window: Window): Promise<void> {
    const { bytes, size, position } = window;
    window.length = await this.read(bytes.subarray(0, size), 0, position);
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

function isWithin({ position, size }: Window, at: number): boolean {
  return at >= position && at < position + size;
}

async function openFile(path: string): Promise<FileHandle> {
  return await open(path, 'r').catch((error: unknown) => {
    throw new DeviceError(path, 'open', null, error);
  });
}
