import { setTimeout as wait } from 'node:timers/promises';
import type { ByteSink } from '../bytes/byte-channel.js';

/** What may follow at once after a pause or a timer that was late, as time at the full rate. */
const BURST_MS = 100;
/** What goes out at once, as time at the full rate. */
const SLICE_MS = 50;

/** Time, as tests have it too. */
export interface Timing {
  /** Milliseconds that only grow. */
  readonly clock: () => number;
  readonly sleep?: (milliseconds: number) => Promise<unknown>;
}

/**
 * A sink that takes so many bytes a second and no more: over any two seconds or longer within a tenth of it,
 * bursts included. A token bucket, kept as the moment up to which all that was written is paid for.
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
      // One after another, whole: a sign of life may come while a frame waits.
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
