import type { Form } from './arguments.js';
import type { Build } from './builds.js';
import type { Peers } from './peers.js';
import type { Report } from './report.js';
import { runInTurns, type Plan, type Rival } from './turns.js';
import { leave, type Workplace } from './workplace.js';

/** What a part of the bench works with. */
export interface Bench {
  readonly report: Report;
  readonly form: Form;
  /** Ours; then the one beside it, if one was asked for. */
  readonly builds: readonly Build[];
  readonly peers: Peers;
}

/** What a part does: it says what it found to the report, and throws where nothing can be found. */
export type Part = (bench: Bench) => Promise<void>;

/** A size in the full form, and in the quick one. Bytes. */
export function sizeIn({ form }: Bench, full: number, quick: number): number {
  return form.name === 'full' ? full : quick;
}

/** Works in a place with enough space, which is left afterwards; says so where there is none. */
export async function workIn(
  { report }: Bench,
  place: Workplace | string,
  work: (place: Workplace) => Promise<void>,
): Promise<void> {
  if (typeof place === 'string') {
    report.skip(place);
    return;
  }
  try {
    await work(place);
  } finally {
    leave(place);
  }
}

/**
 * Lets rivals run in turn and reports the figures of those that took part. The limits hold for full sizes, where the
 * start of a process does not count: the quick form keeps those of memory alone.
 */
export async function race(
  { report, form }: Bench,
  rivals: readonly [string, Rival][],
  plans: readonly Plan[],
): Promise<void> {
  const all = new Map(rivals);
  const turns = await runInTurns(all, form.pairs);
  const holds = ({ bar }: Plan): boolean => bar === undefined || form.name === 'full' || bar.kind === 'under';
  report.race(
    turns,
    all,
    plans.map((plan) => (holds(plan) ? plan : { ...plan, bar: undefined })),
  );
}
