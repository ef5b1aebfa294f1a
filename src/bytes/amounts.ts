import prettyBytes from 'pretty-bytes';

/* Amounts as people read them, for messages and reports. */

/** A size or an amount of bytes, in binary units with three digits: `1.17 MiB`. */
export function formatBytes(bytes: number): string {
  return prettyBytes(bytes, { binary: true });
}

/**
 * Two sizes that a reader compares: as `formatBytes`, or to the byte if both would read the same, because they differ by
 * less than three digits show.
 */
export function formatBoth(one: number, other: number): readonly [string, string] {
  const both = [formatBytes(one), formatBytes(other)] as const;
  if (both[0] !== both[1] || one === other) return both;
  return [countOf(one, 'byte'), countOf(other, 'byte')];
}

/** A share for people; a tiny one is not rounded to zero. */
export function formatShare(part: number, whole: number): string {
  if (whole === 0) return '0 %';
  const percent = (100 * part) / whole;
  return percent > 0 && percent < 0.1 ? '< 0.1 %' : `${percent.toFixed(1)} %`;
}

/** A duration for people: two digits of seconds, and from one minute on, the two largest units. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${Number(Math.max(0.001, seconds).toPrecision(2))} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * A number with its noun: `1 block`, `2 blocks`, `0 blocks`. Every message that counts something calls this, so that
 * there is never "1 blocks".
 */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
