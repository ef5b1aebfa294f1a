import type { FileHandle } from 'node:fs/promises';
import type { ByteSink } from '../bytes/byte-channel.js';
import { DeviceError } from '../errors.js';

const CAPACITY = 1024 * 1024;

/**
 * Appends to a file in large pieces, because a system call through the thread pool costs more than copying the bytes.
 * While one piece is written, the next one is collected. Data is durable only after `handOver` and then `sync` have
 * resolved. One `write` or `handOver` at a time; a `sync` may run at the same time.
 */
export class GatheredFile implements ByteSink {
  private gathering = Buffer.allocUnsafeSlow(CAPACITY);
  private spare = Buffer.allocUnsafeSlow(CAPACITY);
  private used = 0;
  private writing: Promise<void> = Promise.resolve();
  /** The first failure is final: what was lost with it is unknown. */
  private failure: DeviceError | null = null;

  /** @param position where the file ends */
  constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private position = 0,
  ) {}

  /** Throws DeviceError, also for an earlier piece. */
  async write(piece: Uint8Array): Promise<void> {
    for (let done = 0; done < piece.length;) {
      if (this.used === CAPACITY) await this.startWriting();
      const count = Math.min(CAPACITY - this.used, piece.length - done);
      this.gathering.set(piece.subarray(done, done + count), this.used);
      this.used += count;
      done += count;
    }
  }

  /** Resolves when everything collected so far is written to the file. Throws DeviceError. */
  async handOver(): Promise<void> {
    await this.startWriting();
    await this.settle();
  }

  /** Resolves when everything handed over before is on stable storage. Throws DeviceError. */
  async sync(): Promise<void> {
    this.throwFailure();
    await this.file.datasync().catch((error: unknown) => {
      this.failure ??= new DeviceError(this.path, 'flush', null, error);
    });
    this.throwFailure();
  }

  end(): Promise<void> {
    return Promise.resolve();
  }

  private async startWriting(): Promise<void> {
    await this.settle();
    const piece = this.gathering.subarray(0, this.used);
    [this.gathering, this.spare] = [this.spare, this.gathering];
    this.used = 0;
    this.writing = this.append(piece).catch((error: unknown) => {
      this.failure ??= new DeviceError(this.path, 'write', this.position, error);
    });
  }

  private async settle(): Promise<void> {
    await this.writing;
    this.throwFailure();
  }

  private async append(piece: Uint8Array): Promise<void> {
    for (let done = 0; done < piece.length;) {
      const { bytesWritten } = await this.file.write(piece, done, piece.length - done, this.position);
      done += bytesWritten;
      this.position += bytesWritten;
    }
  }

  private throwFailure(): void {
    if (this.failure !== null) throw this.failure;
  }
}
