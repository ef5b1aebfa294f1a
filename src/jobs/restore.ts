import type { ReceiveSummary } from '../apply/apply-stream.js';
import { applyIncoming } from '../apply/receive-stream.js';
import { describeRecovery, recoverTarget } from '../apply/recover.js';
import { checkArchive } from '../archive/archive.js';
import { listArchives, keepingArchives } from '../chain/archive-folder.js';
import { CombinationPlanner, planUndos } from '../chain/combination.js';
import { describeRestore, planRestore, type RestoreGoal } from '../chain/plan-restore.js';
import { openEach, proveBase } from '../chain/prove-base.js';
import { findProvedState } from '../chain/prove-state.js';
import { streamOf } from '../chain/restore-stream.js';
import { openUndo, States, undosOf, type Undo } from '../chain/states.js';
import { headerOfCombination } from '../chain/write-combination.js';
import { BaseMismatchError, UnsafeTargetError } from '../errors.js';
import { makerOf, stateDirOf, type Surroundings } from '../host/surroundings.js';
import { readNote } from '../journal/journal.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { RECEIVE_MEMORY } from '../memory/budgets.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import type { ProveBase } from '../targets/base-check.js';
import type { OpenTarget } from '../targets/open-target.js';
import { FOR_NO_RUN, openTargetFor, planned } from './apply.js';
import { checkRollBack, rollBackOpen } from './roll-back.js';

/** What a restore did, or would do. */
export interface RestoreSummary {
  /** The archives, in the order of their effect: the newest first. */
  readonly archives: readonly string[];
  /** The states of the target before and after. */
  readonly from: string;
  readonly to: string;
  /** Null if there was nothing to do. */
  readonly applied: Pick<ReceiveSummary, 'changedBytes' | 'blocks' | 'suspect'> | null;
  readonly seconds: number;
}

/** What to take back, how far, and by which archives. */
export interface RestoreWish {
  readonly targetPath: string;
  readonly goal: RestoreGoal;
  /** The folder with the archives. */
  readonly folder: string;
  readonly policy: ApplyPolicy;
}

/** A target on which no earlier run left anything. */
interface SettledTarget {
  readonly target: OpenTarget;
  /** Whether old bytes were written back for that. */
  readonly isTakenBack: boolean;
}

/**
 * Takes a target back to an earlier state: finds the undos that lead there in a folder, reads and checks all of each,
 * and applies them as one, each block once, with the guards, proofs and journal of any apply.
 *
 * Throws BaseMismatchError if the target is not in a state that the undos start from, UsageError if they do not lead to
 * the goal, LockedError while the folder is being pruned; what opening a target, reading archives and applying a stream
 * throw.
 */
export function restore(wish: RestoreWish, env: Surroundings): Promise<RestoreSummary> {
  return keepingArchives(wish.folder, () => restoreBy(applyWay, wish, env));
}

/**
 * The same at once, for a logical volume that no process has open: by a merge, which LVM does in the background.
 * Throws as `restore`, and UnsafeTargetError, with the reason, for any other target.
 */
export function restoreInstantly(wish: RestoreWish, env: Surroundings): Promise<RestoreSummary> {
  const check = (target: OpenTarget) => checkRollBack(target, wish.targetPath, env);
  return keepingArchives(wish.folder, () => restoreBy(mergeWay, wish, env, check));
}

async function restoreBy(
  go: (
    ...words: Parameters<typeof applyWay>
  ) => Promise<Pick<ReceiveSummary, 'changedBytes' | 'blocks' | 'suspect'>>,
  wish: RestoreWish,
  env: Surroundings,
  check: (target: OpenTarget) => Promise<unknown> = () => Promise.resolve(),
): Promise<RestoreSummary> {
  const started = env.clock();
  const { targetPath, goal, folder, policy } = wish;
  const states = await readStates(folder, env);
  const target = await openTargetFor(targetPath, policy, FOR_NO_RUN, env);
  try {
    await check(target);
    const isTakenBack = await settleEarlier(target, policy, env);
    const from = await findState(target, states, wish, env);
    const plan = planRestore(states, from, goal, folder);
    for (const line of describeRestore(targetPath, plan)) env.notice(line);
    const { to, way } = plan;
    const applied = way.length === 0 ? null : await go({ target, isTakenBack }, way, policy, env);
    const archives = way.map(({ archive }) => archive.path);
    return { archives, from, to, applied, seconds: (env.clock() - started) / 1000 };
  } finally {
    await target.close();
  }
}

async function readStates(folder: string, env: Surroundings): Promise<States> {
  const listed = await listArchives(folder);
  const undos = undosOf(listed);
  for (const { problem } of listed) if (problem !== null) env.notice(`skipped: ${problem.message}`);
  const nameless = listed.filter(
    ({ header, problem }) => problem === null && header?.kind === 'undo' && !isNamed(header),
  );
  for (const { path } of nameless) {
    env.notice(
      `skipped: ${path}: it starts from or leads to a state without a name, so its place in the order is unknown`,
    );
  }
  return new States(undos);
}

function isNamed({
  base,
  result,
}: {
  readonly base: string | null;
  readonly result: string | null;
}): boolean {
  return base !== null && result !== null;
}

/**
 * Takes an interrupted apply back first: until then, the target is in no state at all. Returns whether old bytes were
 * written back.
 */
async function settleEarlier(target: OpenTarget, policy: ApplyPolicy, env: Surroundings): Promise<boolean> {
  const { device, folder, recoverWords } = target;
  if ((await readNote(folder)) === null) return false;
  if (policy.dryRun) {
    const advice = `take it back with "${recoverWords}", then repeat the dry run`;
    throw new UnsafeTargetError(device.path, `half-written by an earlier run: ${advice}`);
  }
  const outcome = await recoverTarget(target, env);
  env.notice(describeRecovery(device.path, outcome));
  return outcome.kind === 'taken back' && outcome.bytes > 0;
}

/** The state that the target is in: by its record, or else by what it holds. */
async function findState(
  { device, record }: OpenTarget,
  states: States,
  { goal, folder, policy }: RestoreWish,
  env: Surroundings,
): Promise<string> {
  const { holds } = await record.read();
  // Only the apply that was interrupted makes the target whole. Without a journal that is a restore, done again.
  if (holds?.is === 'applying from' && states.has(holds.identity)) return holds.identity;
  if (holds?.is === 'exactly') {
    if (states.has(holds.identity)) return holds.identity;
    if (goal.kind === 'state' && goal.name === holds.identity) return holds.identity;
    if (!policy.forceBase) {
      const problem = `it holds exactly ${holds.identity}, and no archive in ${folder} starts from that state`;
      throw new BaseMismatchError(device.path, null, problem);
    }
  }
  env.notice(
    `${device.path}: no usable record of its state: finding it out by comparing its contents with the archives`,
  );
  const proved = await findProvedState(device, states, env);
  if (proved !== null) return proved;
  const [head, ...others] = states.heads;
  if (policy.forceBase && head !== undefined && others.length === 0) return head;
  const problem =
    states.undos.length === 0
      ? `no snapback in ${folder} names its states`
      : `it cannot be proved to be in a state that an archive in ${folder} starts from`;
  const advice = '; if you know that it is in the latest of them, use --force=base';
  throw new BaseMismatchError(device.path, null, `${problem}${states.undos.length === 0 ? '' : advice}`);
}

async function applyWay(
  { target, isTakenBack }: SettledTarget,
  way: readonly Undo[],
  policy: ApplyPolicy,
  env: Surroundings,
): Promise<ReceiveSummary> {
  // All of each archive is read and checked before the first write.
  const undos = await planUndos(way, env.signal);
  const header = headerOfCombination(undos.plan, makerOf(env));
  const { lend } = new BufferPool(RECEIVE_MEMORY);
  const incoming = streamOf(undos, header, { lend, signal: env.signal });
  // Only where the target's state is not sure: then all archives are read once more.
  const prove: ProveBase = async (device) => await proveBase(device, openEach(way, openUndo), env.signal);
  const options = { what: 'archives', target, policy, isSession: false, proveBase: prove, isTakenBack };
  return policy.dryRun ? await planned(incoming, options, env) : await applyIncoming(incoming, options, env);
}

/** Restores by a merge. Nothing is written until all blocks of all archives are read, checked, and in the store. */
async function mergeWay(
  { target }: SettledTarget,
  way: readonly Undo[],
  policy: ApplyPolicy,
  env: Surroundings,
): Promise<Pick<ReceiveSummary, 'changedBytes' | 'blocks' | 'suspect'>> {
  const targetName = target.device.path;
  const planner = new CombinationPlanner();
  for (const undo of way) {
    // A real run reads, and so checks, every block that it needs; a dry run does not.
    if (policy.dryRun) await checkArchive(undo.archive.path, env.signal);
    planner.add(await openUndo(undo));
  }
  const plan = planner.plan();
  if (!policy.dryRun) {
    const stateDir = stateDirOf(policy.stateDir, env);
    await rollBackOpen(target, plan, { targetName, stateDir, forceBase: policy.forceBase }, env);
  }
  const suspect = policy.forceBase ? null : await target.record.suspicion();
  return { changedBytes: plan.bytes, blocks: plan.extents.count, suspect };
}
