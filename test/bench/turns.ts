import { spreadOf, type Bar, type Figure, type Unit } from './figures.js';

/** What one run of a program took. */
export interface Sample {
  readonly seconds: number;
  /** Seconds that all recorded processes kept a processor busy, both sides together. */
  readonly processor?: number;
  /** The peaks of memory of the recorded processes at this side, added up. Bytes. */
  readonly near?: number;
  /** The same at the far side. */
  readonly far?: number;
  /** What went over the line. Bytes. */
  readonly sent?: number;
}

/** Runs a program once, from start to exit. */
export type Rival = () => Promise<Sample>;

/** What the runs of each rival took, round by round. */
export interface Turns {
  readonly rounds: readonly ReadonlyMap<string, Sample>[];
  /** Why a rival was given up. */
  readonly failures: ReadonlyMap<string, string>;
}

/** A figure that each round gives. */
export interface Plan {
  readonly what: string;
  readonly unit: Unit;
  /** The rivals that it is made of. */
  readonly of: readonly string[];
  /** Gets the samples of these rivals, in that order. */
  readonly read: (...samples: Sample[]) => number;
  readonly bar?: Bar | undefined;
}

const NOTHING: Sample = { seconds: NaN };

/**
 * Runs rivals in turn, round after round, so that other load of the machine meets all of them alike. A different one
 * begins each round. A first round that is not counted warms up caches and allocates files. A rival that fails is not
 * run again; the others are.
 */
export async function runInTurns(rivals: ReadonlyMap<string, Rival>, pairs: number): Promise<Turns> {
  const failures = new Map<string, string>();
  const rounds: Map<string, Sample>[] = [];
  const names = [...rivals.keys()];
  for (let round = 0; round <= pairs; round++) {
    const samples = new Map<string, Sample>();
    const first = round % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      const run = rivals.get(name);
      if (run === undefined || failures.has(name)) continue;
      try {
        samples.set(name, await run());
      } catch (error) {
        failures.set(name, error instanceof Error ? error.message : String(error));
      }
    }
    if (round > 0) rounds.push(samples);
  }
  return { rounds, failures };
}

/** The median of what the rounds say, round by round. Failed where a rival that it needs failed. */
export function readFigure({ rounds, failures }: Turns, { what, unit, of, read, bar }: Plan): Figure {
  const isFailed = of.some((name) => failures.has(name));
  const values = rounds.map((round) => read(...of.map((name) => round.get(name) ?? NOTHING)));
  return { what, unit, bar: bar ?? null, runs: rounds.length, spread: isFailed ? null : spreadOf(values) };
}

/** What a figure is read from. */
export type Reading = Pick<Plan, 'unit' | 'of' | 'read'>;

/** How long ours takes, where theirs takes 1. */
export function timeTo(ours: string, theirs: string): Reading {
  return { unit: '×', of: [ours, theirs], read: (a, b) => a.seconds / b.seconds };
}

/** How fast ours is, where theirs is 1. */
export function speedTo(ours: string, theirs: string): Reading {
  return timeTo(theirs, ours);
}

/** The processor time of ours, where that of theirs is 1. */
export function processorTo(ours: string, theirs: string): Reading {
  return { unit: '×', of: [ours, theirs], read: (a, b) => processorOf(a) / processorOf(b) };
}

export function processorTime(name: string): Reading {
  return { unit: 's', of: [name], read: processorOf };
}

export function speedOf(name: string, bytes: number): Reading {
  return { unit: 'MB/s', of: [name], read: (sample) => bytes / sample.seconds / 1e6 };
}

/** The larger peak of several rivals, at one side. */
export function peakOf(side: 'near' | 'far', ...names: readonly string[]): Reading {
  return {
    unit: 'MB',
    of: names,
    read: (...samples) => Math.max(...samples.map((sample) => (sample[side] ?? NaN) / 1e6)),
  };
}

function processorOf({ processor }: Sample): number {
  return processor ?? NaN;
}
