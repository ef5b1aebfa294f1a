import { randomBytes } from 'node:crypto';
import type { Combination } from '../chain/combination.js';
import type { Surroundings } from '../host/surroundings.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { OpenedView } from '../view/open-view.js';
import { rollBack } from '../view/roll-back.js';
import { oldStateOf } from '../view/view-making.js';
import { ViewEntry } from '../view/view-record.js';

/** What is known about a target that is taken back. */
export interface RollBackOptions {
  /** The target, as its user named it. */
  readonly targetName: string;
  /** The directory with the records of views; a rollback begins as a view. */
  readonly stateDir: string;
  /** Whether the user guarantees the target's state. */
  readonly forceBase: boolean;
}

/**
 * Takes an open target, a logical volume, back at once by a merge: see `rollBack`. When the merge has begun, the target
 * is closed but still locked. A run that is killed before that leaves a view, which `view list` shows. Throws as
 * `rollBack`.
 */
export async function rollBackOpen(
  target: OpenTarget,
  combination: Combination,
  { targetName, stateDir, forceBase }: RollBackOptions,
  env: Surroundings,
): Promise<OpenedView> {
  const name = `lvmsync-rollback-${randomBytes(4).toString('hex')}`;
  const entry = await ViewEntry.take(name, `restore ${targetName}`, stateDir, env);
  const wish = { targetName, forceBase };
  try {
    return await rollBack({ target, old: oldStateOf(combination, env) }, wish, entry, env);
  } finally {
    await entry.release();
  }
}

export { checkRollBack } from '../view/roll-back.js';
