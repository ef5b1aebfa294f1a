import { setTimeout as wait } from 'node:timers/promises';
import type { ByteSink } from '../bytes/byte-channel.js';

/** How much may follow at once after a pause or a late timer, as time at the full rate. */
const BURST_MS = 100;
/** How much is written at once, as time at the full rate. */
const SLICE_MS = 50;

/** The clock; tests replace it. */
export interface Timing {
  /** Milliseconds; never runs backwards. */
  readonly clock: () => number;
  readonly sleep?: (milliseconds: number) => Promise<unknown>;
}

/**
 * A sink that accepts at most `bytesPerSecond`: within a tenth of it over any two seconds or more, bursts included. A
 * token bucket, kept as the moment up to which everything written is paid for.
 */
export function limitRate(sink: ByteSink, bytesPerSecond: number, { clock, sleep = wait }: Timing): ByteSink {
  const slice = Math.max(1, Math.floor((bytesPerSecond * SLICE_MS) / 1000));
  let paidUntil = clock();
  let last: Promise<void> = Promise.resolve();

  const writeSlowly = async (piece: Uint8Array): Promise<void> => {
    for (let at = 0; at < piece.length; at += slice) {
      const part = piece.subarray(at, at + slice);
      const now = clock();
      paidUntil = Math.max(paidUntil, now - BURST_MS);
      if (paidUntil > now) await sleep(paidUntil - now);
      paidUntil += (part.length * 1000) / bytesPerSecond;
      await sink.write(part);
    }
  };
  return {
    write: (piece) => {
      // One write after another, each as a whole: a keepalive may come while a frame waits.
      const written = last.then(() => writeSlowly(piece));
      last = written.catch(() => undefined);
      return written;
    },
    end: async () => {
      await last;
      await sink.end();
    },
  };
}
