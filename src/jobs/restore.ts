import type { ReceiveSummary } from '../apply/receive-summary.js';
import { applyIncoming } from '../apply/receive-stream.js';
import { describeRecovery, recoverTarget } from '../apply/recover.js';
import { checkArchive } from '../archive/archive.js';
import { listArchives, keepingArchives } from '../chain/archive-folder.js';
import { CombinationPlanner, planUndos, type Combination } from '../chain/combination.js';
import { checkGoal, describeRestore, describeSkipped, planRestore, whyNoWay } from '../chain/plan-restore.js';
import type { RestoreGoal, RestorePlan } from '../chain/plan-restore.js';
import { openEach, proveBase } from '../chain/prove-base.js';
import { findProvedState } from '../chain/prove-state.js';
import { streamOf } from '../chain/restore-stream.js';
import { openUndo, statesOf, type StatesHere, type Undo } from '../chain/states.js';
import { headerOfCombination } from '../chain/write-combination.js';
import { BaseMismatchError, UnsafeTargetError } from '../errors.js';
import { makerOf, stateDirOf, type Surroundings } from '../host/surroundings.js';
import { readNote } from '../journal/apply-note.js';
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

/**
 * Takes a target back to an earlier state: finds the undos that lead there in a folder, reads and checks all of each,
 * and applies them as one, each block once, with the guards, proofs and journal of any apply.
 *
 * Throws BaseMismatchError if the target is not in a state that the undos start from, UsageError if they do not lead to
 * the goal, LockedError while the folder is being pruned; what opening a target, reading archives and applying a stream
 * throw.
 */
export function restore(wish: RestoreWish, env: Surroundings): Promise<RestoreSummary> {
  return keepingArchives(wish.folder, () => restoreBy(BY_APPLY, wish, env));
}

/**
 * The same at once, for a logical volume that no process has open: by a merge, which LVM does in the background.
 * Throws as `restore`, and UnsafeTargetError, with the reason, for any other target.
 */
export function restoreInstantly(wish: RestoreWish, env: Surroundings): Promise<RestoreSummary> {
  return keepingArchives(wish.folder, () => restoreBy(BY_MERGE, wish, env));
}

type Applied = NonNullable<RestoreSummary['applied']>;

/** A target, and what to take back there. */
interface WayBack {
  readonly target: OpenTarget;
  readonly way: readonly Undo[];
  readonly policy: ApplyPolicy;
}

/** A way to take a target back by undos. */
interface Method {
  /** Throws UnsafeTargetError if the target cannot be taken back in this way. */
  check(target: OpenTarget, wish: RestoreWish, env: Surroundings): Promise<void>;
  /** Says what it would write, and writes nothing. Throws what it would be refused for. */
  plan(back: WayBack, env: Surroundings): Promise<Applied>;
  /** @param isTakenBack whether old bytes of an earlier apply were just written back */
  carryOut(back: WayBack, env: Surroundings, isTakenBack: boolean): Promise<Applied>;
}

async function restoreBy(method: Method, wish: RestoreWish, env: Surroundings): Promise<RestoreSummary> {
  const started = env.clock();
  const { targetPath, goal, folder, policy } = wish;
  const here = await readStates(folder, env);
  const target = await openTargetFor(targetPath, policy, FOR_NO_RUN, env);
  try {
    const { holds } = await target.record.read();
    checkGoal(goal, holds === null ? here.known : [...here.known, holds.identity], folder);
    await method.check(target, wish, env);
    const findWay = async () => await planWay(target, here, wish, env);
    const go = policy.dryRun ? planOnly : planAndCarryOut;
    const { from, to, way, applied } = await go(method, { target, policy }, findWay, env);
    const archives = way.map(({ archive }) => archive.path);
    return { archives, from, to, applied, seconds: (env.clock() - started) / 1000 };
  } finally {
    await target.close();
  }
}

type Restored = RestorePlan & Pick<RestoreSummary, 'applied'>;

type FindWay = () => Promise<RestorePlan>;

/** Says what a restore would do. Until an interrupted apply is taken back, the target is in no state at all. */
async function planOnly(
  method: Method,
  { target, policy }: Omit<WayBack, 'way'>,
  findWay: FindWay,
  env: Surroundings,
): Promise<Restored> {
  const { device, folder, recoverWords } = target;
  if ((await readNote(folder)) !== null) {
    const advice = `take it back with "${recoverWords}", then repeat the dry run`;
    throw new UnsafeTargetError(device.path, `half-written by an earlier run: ${advice}`);
  }
  const plan = await findWay();
  const { way } = plan;
  return { ...plan, applied: way.length === 0 ? null : await method.plan({ target, way, policy }, env) };
}

async function planAndCarryOut(
  method: Method,
  { target, policy }: Omit<WayBack, 'way'>,
  findWay: FindWay,
  env: Surroundings,
): Promise<Restored> {
  const earlier = await recoverTarget(target, env);
  if (earlier.kind === 'taken back' || earlier.kind === 'holds the result')
    env.notice(describeRecovery(target.device.path, earlier));
  const isTakenBack = earlier.kind === 'taken back' && earlier.bytes > 0;
  const plan = await findWay();
  const { way } = plan;
  const carryOut = () => method.carryOut({ target, way, policy }, env, isTakenBack);
  return { ...plan, applied: way.length === 0 ? null : await carryOut() };
}

/** The way from the state that a target is in to the goal. A notice shows it. */
async function planWay(
  target: OpenTarget,
  here: StatesHere,
  wish: RestoreWish,
  env: Surroundings,
): Promise<RestorePlan> {
  const from = await findState(target, here, wish, env);
  const plan = planRestore(here.states, from, wish.goal, wish.folder);
  for (const line of describeRestore(wish.targetPath, plan)) env.notice(line);
  return plan;
}

async function readStates(folder: string, env: Surroundings): Promise<StatesHere> {
  const listed = await listArchives(folder);
  for (const { problem } of listed) if (problem !== null) env.notice(`skipped: ${problem.message}`);
  const here = statesOf(listed);
  for (const each of here.nameless) env.notice(describeSkipped(each));
  return here;
}

/** The state that the target is in: by its record, or else by what it holds. */
async function findState(
  { device, record }: OpenTarget,
  { states, nameless }: StatesHere,
  wish: RestoreWish,
  env: Surroundings,
): Promise<string> {
  const { goal, folder, policy } = wish;
  const { holds } = await record.read();
  // Only the apply that was interrupted makes the target whole. Without a journal that is a restore, done again.
  if (holds?.is === 'applying from' && states.has(holds.identity)) return holds.identity;
  if (holds?.is === 'exactly') {
    if (states.has(holds.identity)) return holds.identity;
    if (goal.kind === 'state' && goal.name === holds.identity) return holds.identity;
    if (!policy.forceBase)
      throw new BaseMismatchError(device.path, null, whyNoWay(holds.identity, nameless, wish));
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

/** By a stream that is made of the undos, and applied like any other. */
const BY_APPLY: Method = {
  check: () => Promise.resolve(),
  plan: async (back, env) => {
    const { incoming, options } = await streamOver(back, env);
    return await planned(incoming, options, env);
  },
  carryOut: async (back, env, isTakenBack) => {
    const { incoming, options } = await streamOver(back, env);
    return await applyIncoming(incoming, { ...options, isTakenBack }, env);
  },
};

/** All of each archive is read and checked before the first write. */
async function streamOver({ target, way, policy }: WayBack, env: Surroundings) {
  const undos = await planUndos(way, env.signal);
  const header = headerOfCombination(undos.plan, makerOf(env));
  const { lend } = new BufferPool(RECEIVE_MEMORY);
  const incoming = streamOf(undos, header, { lend, signal: env.signal });
  // Only where the target's state is not sure: then all archives are read once more.
  const prove: ProveBase = async (device) => await proveBase(device, openEach(way, openUndo), env.signal);
  return { incoming, options: { what: 'archives', target, policy, isSession: false, proveBase: prove } };
}

/** By a merge. Nothing is written until all blocks of all archives are read, checked, and in the store. */
const BY_MERGE: Method = {
  check: async (target, { targetPath }, env) => {
    await checkRollBack(target, targetPath, env);
  },
  plan: async ({ target, way, policy }, env) => {
    // A real run reads, and so checks, every block that it needs.
    for (const undo of way) await checkArchive(undo.archive.path, env.signal);
    return await appliedBy(await combineAll(way), target, policy);
  },
  carryOut: async ({ target, way, policy }, env) => {
    const combination = await combineAll(way);
    const stateDir = stateDirOf(policy.stateDir, env);
    const wish = { targetName: target.device.path, stateDir, forceBase: policy.forceBase };
    await rollBackOpen(target, combination, wish, env);
    return await appliedBy(combination, target, policy);
  },
};

async function combineAll(way: readonly Undo[]): Promise<Combination> {
  const planner = new CombinationPlanner();
  for (const undo of way) planner.add(await openUndo(undo));
  return planner.plan();
}

async function appliedBy(
  { bytes, extents }: Combination,
  { record }: OpenTarget,
  { forceBase }: ApplyPolicy,
): Promise<Applied> {
  const suspect = forceBase ? null : await record.suspicion();
  return { changedBytes: bytes, blocks: extents.count, suspect };
}
