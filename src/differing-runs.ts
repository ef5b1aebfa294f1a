import type { Extent } from './extent.js';

/**
 * Where two states of the same bytes differ, in whole units counted from their first byte: ascending, neighbours as
 * one. `start` is added to the offsets.
 */
export function findDifferingRuns(old: Buffer, now: Buffer, unit: number, start = 0): Extent[] {
  const found: { offset: number; length: number }[] = [];
  const search = (from: number, to: number): void => {
    if (now.compare(old, from, to, from, to) === 0) return;
    if (to - from > unit) {
      // By halves: what is equal is mostly so in long stretches, and is then looked at in few calls.
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
