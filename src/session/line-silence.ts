import type { ByteSource } from '../bytes/byte-channel.js';
import { LineError } from '../errors.js';
/** How far a run has come over all of its lines. Decides whether to replace a broken line. */
export class LineProgress {
  /** Whether a receiver was ever ready. */
  hasBegun = false;
  /** How many checkpoints receivers answered. */
  checkpoints = 0;
}

/** How often each side of a session gives a sign of life. Seconds. */
export const HEARTBEAT_SECONDS = 5;
/** After this many missed signs of life in a row, the line is dead. */
const MISSED_BEATS = 6;
/** A second wait, so that bytes that came while this process was stopped are read first. */
const SECOND_LOOK_MS = 1000;

/** How long a side that gives a sign of life at this interval may be silent. Milliseconds. */
export function silenceAllowed(heartbeatSeconds: number): number {
  return heartbeatSeconds * MISSED_BEATS * 1000;
}

/** Gives a sign of life at intervals, until the returned function is called. */
export function keepBeating(seconds: number, beat: () => Promise<void>): () => void {
  const timer = setInterval(() => {
    // The reader of the line finds out that it is broken.
    beat().catch(() => undefined);
  }, seconds * 1000);
  return () => {
    clearInterval(timer);
  };
}

/** Detects a line that died without an error: the other side promised signs of life, and they do not come. */
export class LineSilence {
  private limit: { readonly milliseconds: number; readonly problem: string } | null = null;
  private timer: NodeJS.Timeout | undefined;
  private fail: ((error: LineError) => void) | null = null;

  /** From now on, fails the line after this much silence; null: any silence is allowed. */
  allow(milliseconds: number | null, problem: string): void {
    this.limit = milliseconds === null ? null : { milliseconds, problem };
    this.arm();
  }

  /** The same bytes. Throws LineError if no bytes come for too long while the reader waits for them. */
  async *listen(source: ByteSource): ByteSource {
    const pieces = source[Symbol.asyncIterator]();
    for (;;) {
      const next = await this.orSilence(pieces.next());
      if (next.done === true) return;
      yield next.value;
    }
  }

  private async orSilence<T>(work: Promise<T>): Promise<T> {
    // If the silence fails first, a later error of the wait must not become an unhandled rejection.
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
