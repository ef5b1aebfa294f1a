import type { Extent } from './extent.js';
const ZEROES = Buffer.alloc(1024 * 1024);

/** Whether every byte is zero. Exact, and as fast as memory is read. */
export function isZero(bytes: Uint8Array): boolean {
  for (let done = 0; done < bytes.length; done += ZEROES.length) {
    const piece = bytes.subarray(done, done + ZEROES.length);
    if (ZEROES.compare(piece, 0, piece.length, 0, piece.length) !== 0) return false;
  }
  return true;
}

/**
 * The runs in which two states of the same bytes differ, in whole units from their first byte: ascending, with
 * neighbours joined. `start` is added to the offsets.
 */
export function findDifferingRuns(old: Buffer, now: Buffer, unit: number, start = 0): Extent[] {
  const found: { offset: number; length: number }[] = [];
  const search = (from: number, to: number): void => {
    if (now.compare(old, from, to, from, to) === 0) return;
    if (to - from > unit) {
      // By halves: equal bytes mostly come in long stretches, which then need few comparisons.
      const middle = from + Math.ceil((to - from) / unit / 2) * unit;
      search(from, middle);
      search(middle, to);
      return;
    }
    const last = found.at(-1);
    if (last !== undefined && last.offset + last.length === start + from) last.length += to - from;
    else found.push({ offset: start + from, length: to - from });
  };
  if (now.length > 0) search(0, now.length);
  return found;
}
