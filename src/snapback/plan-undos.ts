import { CombinationPlanner, type Combination } from './combination.js';
import { ArchiveProofs, JoinedProofs } from './proofs.js';
import { openUndo, type Undo } from './states.js';

/** Undos as one, with what they say of its base. */
export interface PlannedUndos {
  readonly plan: Combination;
  readonly proofs: ArchiveProofs;
}

/**
 * Plans undos as one, in the order in which they are applied. Each is opened once, and all of it read and checked once,
 * before the next one. Throws as `openUndo` and `ArchiveProofs.read`; BaseMismatchError, UsageError as
 * `CombinationPlanner`; the signal's reason.
 */
export async function planUndos(undos: readonly Undo[], signal: AbortSignal): Promise<PlannedUndos> {
  const planner = new CombinationPlanner();
  const joined = new JoinedProofs();
  for (const undo of undos) {
    signal.throwIfAborted();
    const archive = await openUndo(undo);
    joined.add(await ArchiveProofs.read(archive), (extent) => planner.changes(extent));
    planner.add(archive);
  }
  return { plan: planner.plan(), proofs: joined.join() };
}
