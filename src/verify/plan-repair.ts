import { intersectExtents, sumLengths } from '../bytes/extent.js';
import type { ChangeSet } from '../changes/change-set.js';

/** What a repair may do. */
export interface RepairRequest {
  /** Whether differences are sent; otherwise they are only reported. */
  readonly repair: boolean;
  /** Whether everything was compared, so that the whole of B equals A afterwards. */
  readonly isWhole: boolean;
}

/** What a comparison found. */
export interface RepairFacts {
  readonly differing: ChangeSet;
  /** What changed in A since a snapshot, if what differs beside that is to be counted; else null. */
  readonly changes: ChangeSet | null;
}

/** One thing that is done about differences. */
export type RepairStep =
  /** By a transfer, with the guards and the journal of any transfer. `scope` as of a change source. */
  | { readonly do: 'send'; readonly what: ChangeSet; readonly scope?: 'compared' }
  | { readonly do: 'compare again'; readonly what: ChangeSet };

/** What is done about the differences between two volumes. */
export interface RepairPlan {
  readonly steps: readonly RepairStep[];
  /** How much of what differs is not among the changes; null without a set of changes. Bytes. */
  readonly outsideBytes: number | null;
}

/** What is done about differences, by what the comparison found and by nothing else. */
export function planRepair(
  { repair, isWhole }: RepairRequest,
  { differing, changes }: RepairFacts,
): RepairPlan {
  const bytes = differing.changedBytes;
  const inside = changes === null ? null : intersectExtents(differing.extents(), changes.extents());
  return {
    steps:
      repair && bytes > 0
        ? [
            { do: 'send', what: differing, ...(isWhole ? { scope: 'compared' } : {}) },
            { do: 'compare again', what: differing },
          ]
        : [],
    outsideBytes: inside === null ? null : bytes - sumLengths(inside),
  };
}
