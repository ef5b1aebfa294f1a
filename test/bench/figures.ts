/** Something measured several times: the middle, and how far it spread. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export type Unit = '×' | 's' | 'ms' | 'MB' | 'MB/s' | 'M/s';

/** What a figure has to clear, in the figure's unit. */
export interface Bar {
  readonly kind: 'at most' | 'at least' | 'under';
  readonly limit: number;
}

/** What was measured: one line of the table. */
export interface Figure {
  readonly what: string;
  readonly unit: Unit;
  /** `null` where a program failed. */
  readonly spread: Spread | null;
  /** How many runs or pairs of runs the spread is of. */
  readonly runs: number;
  readonly bar: Bar | null;
}

/** How a figure ended. A figure without a bar was measured, and that is all. */
export type Verdict = 'ok' | 'missed' | 'failed' | 'measured';

const DIGITS: Readonly<Record<Unit, number>> = { '×': 2, s: 2, ms: 0, MB: 0, 'MB/s': 0, 'M/s': 2 };
const SIGNS: Readonly<Record<Bar['kind'], string>> = { 'at most': '≤', 'at least': '≥', under: '<' };

export function atMost(limit: number): Bar {
  return { kind: 'at most', limit };
}

export function atLeast(limit: number): Bar {
  return { kind: 'at least', limit };
}

/** For what a process may never take: the most that was seen counts, not the median. */
export function under(limit: number): Bar {
  return { kind: 'under', limit };
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    least: at(0),
    most: at(sorted.length - 1),
  };
}

export function verdictOf({ spread, bar }: Figure): Verdict {
  if (spread === null) return 'failed';
  if (bar === null) return 'measured';
  return marginOf(spread, bar) >= 1 ? 'ok' : 'missed';
}

/** How far beyond its bar a figure is: 1 just clears it, 2 is twice as good, 0.5 half as good. */
export function marginOf(spread: Spread, { kind, limit }: Bar): number {
  if (kind === 'at least') return spread.median / limit;
  if (kind === 'at most') return limit / spread.median;
  return spread.most < limit ? limit / spread.most : Math.min(limit / spread.most, 1 - Number.EPSILON);
}

export function valueText(value: number, unit: Unit): string {
  return `${numberText(value, unit)} ${unit}`;
}

export function rangeText({ least, most }: Spread, unit: Unit): string {
  return `${numberText(least, unit)} to ${numberText(most, unit)}`;
}

/** Large ones have one digit less, which nothing tells apart. */
function numberText(value: number, unit: Unit): string {
  return value.toFixed(value < 10 ? DIGITS[unit] : Math.min(DIGITS[unit], 1));
}

/** Such as "≤ 0.45". */
export function barText({ kind, limit }: Bar): string {
  return `${SIGNS[kind]} ${limit}`;
}
