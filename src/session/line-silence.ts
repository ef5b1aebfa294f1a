import type { ByteSource } from '../bytes/byte-channel.js';
import { LineError } from '../errors.js';
/** What the lines of one run have come to: whether to replace one that breaks is decided by it. */
export class LineProgress {
  /** Whether a receiver was ever ready. */
  hasBegun = false;
  /** How many checkpoints receivers answered. */
  checkpoints = 0;
}

/** How often each side of a session gives a sign of life. Seconds. */
export const HEARTBEAT_SECONDS = 5;
/** So many signs of life missed in a row mean that the line is dead. */
const MISSED_BEATS = 6;
/** What came while this process stood still is looked at first. */
const SECOND_LOOK_MS = 1000;

/** How long nothing may come from a side that gives a sign of life so often. Milliseconds. */
export function silenceAllowed(heartbeatSeconds: number): number {
  return heartbeatSeconds * MISSED_BEATS * 1000;
}

/** Gives a sign of life again and again, until the function that comes back is called. */
export function keepBeating(seconds: number, beat: () => Promise<void>): () => void {
  const timer = setInterval(() => {
    // A line that takes none is found broken by whoever waits for what comes over it.
    beat().catch(() => undefined);
  }, seconds * 1000);
  return () => {
    clearInterval(timer);
  };
}

/** Finds a line dead of which nobody is told: its other side promised signs of life, and none comes. */
export class LineSilence {
  private limit: { readonly milliseconds: number; readonly problem: string } | null = null;
  private timer: NodeJS.Timeout | undefined;
  private fail: ((error: LineError) => void) | null = null;

  /** From now on, silence of so many milliseconds is the end of the line; null lets it be silent for ever. */
  allow(milliseconds: number | null, problem: string): void {
    this.limit = milliseconds === null ? null : { milliseconds, problem };
    this.arm();
  }

  /** The same bytes. Throws LineError when none come for too long while they are waited for. */
  async *listen(source: ByteSource): ByteSource {
    const pieces = source[Symbol.asyncIterator]();
    for (;;) {
      const next = await this.orSilence(pieces.next());
      if (next.done === true) return;
      yield next.value;
    }
  }

  private async orSilence<T>(work: Promise<T>): Promise<T> {
    // The silence may be first, with nobody left to hear how the wait ends.
    work.catch(() => undefined);
    const silence = new Promise<never>((_resolve, reject) => (this.fail = reject));
    this.arm();
    try {
      return await Promise.race([work, silence]);
    } finally {
      this.fail = null;
      clearTimeout(this.timer);
    }
  }

  private arm(): void {
    clearTimeout(this.timer);
    const { limit, fail } = this;
    if (limit === null || fail === null) return;
    this.timer = setTimeout(() => {
      this.timer = setTimeout(() => {
        fail(new LineError(limit.problem));
      }, SECOND_LOOK_MS);
    }, limit.milliseconds);
  }
}
