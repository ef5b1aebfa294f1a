import type { ByteSink } from '../bytes/byte-channel.js';

/** Eight full packets of an ssh channel. Bytes. */
const CAPACITY = 256 * 1024;
/** Above this size, copying costs more than sending packets that are not full. Bytes. */
const LARGE = 512 * 1024;
/** How long a few bytes may wait for more. */
const PATIENCE_MS = 1;

/**
 * Passes small pieces on together: each write to a channel or a pipe has a fixed cost, and a frame is written in
 * several pieces. A piece's memory is free again when `write` resolves.
 */
export class GatheringSink implements ByteSink {
  private filling = Buffer.allocUnsafeSlow(CAPACITY);
  private spare = Buffer.allocUnsafeSlow(CAPACITY);
  private used = 0;
  private last: Promise<void> = Promise.resolve();
  private underWay: Promise<void> = Promise.resolve();
  private isWoken = false;
  private failure: Error | null = null;

  constructor(private readonly sink: ByteSink) {}

  /** Throws what the sink throws, also if an earlier piece failed. */
  write(piece: Uint8Array): Promise<void> {
    return this.inTurn(() => this.take(piece));
  }

  end(): Promise<void> {
    return this.inTurn(async () => {
      await this.passOn();
      await this.underWay;
      this.throwFailure();
      await this.sink.end();
    });
  }

  /** One write after another, each as a whole: a keepalive may come while a frame waits. */
  private inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.last.then(work);
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private async take(piece: Uint8Array): Promise<void> {
    this.throwFailure();
    if (piece.length >= LARGE) {
      await this.passOn();
      await this.underWay;
      this.throwFailure();
      await this.sink.write(piece);
      return;
    }
    for (let done = 0; done < piece.length;) {
      const part = piece.subarray(done, done + CAPACITY - this.used);
      this.filling.set(part, this.used);
      this.used += part.length;
      done += part.length;
      if (this.used === CAPACITY) await this.passOn();
    }
    if (this.used > 0) this.wake();
  }

  /** Starts to write what was gathered, once the previous write is done. */
  private async passOn(): Promise<void> {
    await this.underWay;
    this.throwFailure();
    if (this.used === 0) return;
    const gathered = this.filling.subarray(0, this.used);
    [this.filling, this.spare] = [this.spare, this.filling];
    this.used = 0;
    this.underWay = this.sink.write(gathered).catch((error: unknown) => {
      this.failure ??= error as Error;
    });
  }

  /** Sends what was gathered even if no further write comes: the other side may be waiting for exactly these bytes. */
  private wake(): void {
    if (this.isWoken) return;
    this.isWoken = true;
    setTimeout(() => {
      this.isWoken = false;
      // The next write, or `end`, reports the failure.
      this.inTurn(() => this.passOn()).catch(() => undefined);
    }, PATIENCE_MS);
  }

  private throwFailure(): void {
    if (this.failure !== null) throw this.failure;
  }
}
