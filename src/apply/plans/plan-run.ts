import type { ApplyPlan, WriteBlocks } from './plan-apply.js';
import type { RecoverPlan } from './plan-recover.js';

/*
 * A run follows two plans, one after the other: what is done about an earlier apply, and then the apply itself, whose
 * facts are only known once the first plan is carried out. A user who only asks gets both as one plan, made from what
 * is known now.
 */

/** What a run would do. */
export interface RunPlan extends Pick<ApplyPlan, 'path' | 'from' | 'to' | 'refusals'> {
  readonly steps: readonly RunStep[];
}

/** `settle`: what an earlier apply left is taken back, put away, or continued. */
export type RunStep = { readonly do: 'settle' | 'look closer' } | WriteBlocks;

/** Joins the two plans of a run. */
export function planRun(
  earlier: Pick<RecoverPlan, 'found' | 'refusals'>,
  { path, looksCloser, write, from, to, refusals }: ApplyPlan,
): RunPlan {
  return {
    steps: [
      ...(isLeftOver(earlier) ? [{ do: 'settle' } as const] : []),
      ...(looksCloser ? [{ do: 'look closer' } as const] : []),
      write,
    ],
    ...{ path, from, to },
    refusals: earlier.refusals.length > 0 ? earlier.refusals : refusals,
  };
}

/** Whether an earlier apply left its journal. */
function isLeftOver({ found }: Pick<RecoverPlan, 'found'>): boolean {
  return found === 'complete' || found === 'incomplete';
}

/** A plan's steps in words, for its user: those before the write, which a dry run's summary tells. */
export function describeSteps(path: string, { steps }: Pick<RunPlan, 'steps'>): string[] {
  if (!steps.some((step) => step.do === 'settle')) return [];
  return [
    `${path}: half-written by an earlier run; a run that writes would first take it back, or continue it`,
  ];
}
