import type { ByteSource } from '../../bytes/byte-channel.js';
import { TruncatedStreamError } from '../../errors.js';

const NOTHING = Buffer.alloc(0);

/** Reads a source whose pieces have any length: what has come at once, and the rest when it comes. */
export class ByteReader {
  /** What has come, from `at` on; valid until more is asked for. */
  bytes: Buffer = NOTHING;
  at = 0;
  /** Where `bytes` starts in the stream. */
  private start = 0;
  /** The rest of a piece whose beginning `gather` put into `bytes`. */
  private rest: Buffer = NOTHING;
  private readonly pieces: AsyncIterator<Uint8Array>;

  /** @param what the name of the source in errors */
  constructor(
    source: ByteSource,
    private readonly what: string,
  ) {
    this.pieces = source[Symbol.asyncIterator]();
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.start + this.at;
  }

  /** How many bytes can be read at once. */
  get atHand(): number {
    return this.bytes.length - this.at;
  }

  /** Whether the source has ended, and everything was read. */
  async atEnd(): Promise<boolean> {
    return this.at === this.bytes.length && !(await this.refill());
  }

  /**
   * Waits until the next `length` bytes are at hand, in one piece. False if there are fewer: then all of them are at
   * hand.
   */
  async gather(length: number): Promise<boolean> {
    if (await this.atEnd()) return length === 0;
    if (this.atHand >= length) return true;
    const { offset } = this;
    const joined = Buffer.allocUnsafe(length);
    let count = 0;
    do {
      const taken = Math.min(length - count, this.atHand);
      this.copyTo(joined, count, taken);
      count += taken;
    } while (count < length && (await this.refill()));
    this.rest = this.bytes.subarray(this.at);
    this.bytes = joined.subarray(0, count);
    this.start = offset;
    this.at = 0;
    return count === length;
  }

  /** The next `length` bytes, as a copy. Throws TruncatedStreamError if there are fewer. */
  async readExactly(length: number, expected: string): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    await this.readInto(bytes, expected);
    return bytes;
  }

  /** The bytes at hand, at most `limit`, valid until the next call; empty if the source has ended. */
  async readSome(limit: number): Promise<Uint8Array> {
    if (await this.atEnd()) return NOTHING;
    const some = this.bytes.subarray(this.at, this.at + limit);
    this.at += some.length;
    return some;
  }

  /** Fills `bytes`. Throws TruncatedStreamError, which says what was `expected`, if the source ends before that. */
  async readInto(bytes: Uint8Array, expected: string): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      if (await this.atEnd()) throw this.endTooSoon(expected);
      const count = Math.min(bytes.length - done, this.atHand);
      this.copyTo(bytes, done, count);
      done += count;
    }
  }

  /** The error for a source that ends with the bytes at hand, where more are `expected`. */
  endTooSoon(expected: string): TruncatedStreamError {
    return new TruncatedStreamError(this.what, this.offset + this.atHand, `${expected} expected`);
  }

  private copyTo(target: Uint8Array, to: number, count: number): void {
    this.bytes.copy(target, to, this.at, this.at + count);
    this.at += count;
  }

  /** Once all is read: the next piece. False if there is no more. */
  private async refill(): Promise<boolean> {
    this.start = this.offset;
    this.at = 0;
    this.bytes = this.rest;
    this.rest = NOTHING;
    while (this.bytes.length === 0) {
      const next = await this.pieces.next();
      if (next.done === true) return false;
      const { buffer, byteOffset, length } = next.value;
      this.bytes = Buffer.from(buffer, byteOffset, length);
    }
    return true;
  }
}
