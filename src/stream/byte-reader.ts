import type { ByteSource } from '../bytes/byte-channel.js';
import { TruncatedStreamError } from '../errors.js';

/** Pulls exact numbers of bytes out of a source that gives pieces of any length. */
export class ByteReader {
  /** Bytes taken so far. */
  offset = 0;
  private readonly pieces: AsyncIterator<Uint8Array>;
  private piece: Uint8Array = new Uint8Array(0);
  private used = 0;

  /** @param what names the source in errors */
  constructor(
    source: ByteSource,
    private readonly what: string,
  ) {
    this.pieces = source[Symbol.asyncIterator]();
  }

  /** Whether the source has ended, all of it taken. */
  async atEnd(): Promise<boolean> {
    while (this.used === this.piece.length) {
      const next = await this.pieces.next();
      if (next.done === true) return true;
      this.piece = next.value;
      this.used = 0;
    }
    return false;
  }

  /** The next `length` bytes, as a copy. Throws TruncatedStreamError where there are fewer. */
  async readExactly(length: number, expected: string): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    await this.readInto(bytes, expected);
    return bytes;
  }

  /** What is at hand, at most `limit` bytes of it, valid until the next call; empty where the source has ended. */
  async readSome(limit: number): Promise<Uint8Array> {
    if (await this.atEnd()) return new Uint8Array(0);
    const some = this.piece.subarray(this.used, this.used + limit);
    this.used += some.length;
    this.offset += some.length;
    return some;
  }

  /** Fills `bytes`. Throws TruncatedStreamError, naming what was `expected`, where the source ends before. */
  async readInto(bytes: Uint8Array, expected: string): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      if (this.used === this.piece.length && (await this.atEnd())) {
        throw new TruncatedStreamError(this.what, this.offset, `${expected} expected`);
      }
      const count = Math.min(bytes.length - done, this.piece.length - this.used);
      bytes.set(this.piece.subarray(this.used, this.used + count), done);
      done += count;
      this.used += count;
      this.offset += count;
    }
  }
}
