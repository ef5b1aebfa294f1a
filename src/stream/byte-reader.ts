import type { ByteSource } from '../bytes/byte-channel.js';
import { TruncatedStreamError } from '../errors.js';

/** Reads exact numbers of bytes from a source whose pieces have any length. */
export class ByteReader {
  /** Bytes read so far. */
  offset = 0;
  private readonly pieces: AsyncIterator<Uint8Array>;
  private piece: Uint8Array = new Uint8Array(0);
  private used = 0;

  /** @param what the name of the source in errors */
  constructor(
    source: ByteSource,
    private readonly what: string,
  ) {
    this.pieces = source[Symbol.asyncIterator]();
  }

  /** Whether the source has ended, and everything was read. */
  async atEnd(): Promise<boolean> {
    while (this.used === this.piece.length) {
      const next = await this.pieces.next();
      if (next.done === true) return true;
      this.piece = next.value;
      this.used = 0;
    }
    return false;
  }

  /** The next `length` bytes, as a copy. Throws TruncatedStreamError if there are fewer. */
  async readExactly(length: number, expected: string): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    await this.readInto(bytes, expected);
    return bytes;
  }

  /** The bytes at hand, at most `limit`, valid until the next call; empty if the source has ended. */
  async readSome(limit: number): Promise<Uint8Array> {
    if (await this.atEnd()) return new Uint8Array(0);
    const some = this.piece.subarray(this.used, this.used + limit);
    this.used += some.length;
    this.offset += some.length;
    return some;
  }

  /** Fills `bytes`. Throws TruncatedStreamError, which says what was `expected`, if the source ends before that. */
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
