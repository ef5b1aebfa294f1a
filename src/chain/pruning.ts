import { createHash } from 'node:crypto';
import type { ListedArchive } from './archive-folder.js';
import { keptStates, type KeepRules } from './keep-rules.js';
import { namelessUndosOf, States, type Undo } from './states.js';

/** How to prune one volume's undos. */
export interface PrunePlan {
  /**
   * Its states that can still be reached afterwards, the latest first; without the head, which all undos lead back
   * from.
   */
  readonly kept: readonly string[];
  readonly dropped: readonly string[];
  /** Groups of undos that are combined into one, in the order in which they are applied. */
  readonly combinations: readonly { readonly name: string; readonly undos: readonly Undo[] }[];
  /** Undos that stay and replace others that are removed; they must be complete for that. */
  readonly substitutes: readonly Undo[];
  /** Undos that are no longer needed once the combinations exist. */
  readonly removed: readonly Undo[];
}

/** Undos that cannot be pruned, and why. */
export interface UnprunedUndos {
  readonly archives: readonly ListedArchive[];
  readonly reason: string;
}

/**
 * Plans how to reduce a folder's undos to those that lead to the states that the rules keep, and to the latest state of
 * each volume. What an interrupted prune leaves, an undo next to the undos that it combines, does no harm.
 */
export function planPruning(
  undos: readonly Undo[],
  rules: KeepRules,
): { readonly plans: readonly PrunePlan[]; readonly unpruned: readonly UnprunedUndos[] } {
  const plans: PrunePlan[] = [];
  const unpruned: UnprunedUndos[] = [];
  for (const volume of connected(undos)) {
    const chain = longestChain(new States(volume));
    if (chain === null) {
      const reason =
        'their states do not form a single chain, so lvmsync cannot tell which undo continues it';
      unpruned.push({ archives: volume.map(({ archive }) => archive), reason });
    } else plans.push(planOne(chain, volume, rules));
  }
  return { plans, unpruned };
}

/** The undos that a prune leaves alone because they lack a name. */
export function unprunedNameless(archives: readonly ListedArchive[]): UnprunedUndos[] {
  const nameless = namelessUndosOf(archives);
  const reason = 'the state that such an undo starts from or leads to has no name, so its place is not known';
  return nameless.length === 0 ? [] : [{ archives: nameless, reason }];
}

function planOne(chain: readonly Undo[], undos: readonly Undo[], rules: KeepRules): PrunePlan {
  // A state began when the undo that leads back from it was made.
  const states = chain.map(({ result }, index) => {
    const next = chain[index + 1];
    return { name: result, begin: next === undefined ? null : new Date(next.time) };
  });
  const kept = keptStates(states, rules);
  const needed = new Set<Undo>();
  const combinations: { name: string; undos: readonly Undo[] }[] = [];
  const substitutes: Undo[] = [];
  let open: Undo[] = [];
  for (const undo of chain) {
    open.push(undo);
    if (!kept.has(undo.result)) continue;
    const whole = undos.filter(({ base, result }) => base === open[0]?.base && result === undo.result);
    // A link may point to one of the others: then that file must not be removed for it.
    const staying = whole.find(({ archive }) => !archive.isLink) ?? whole[0];
    if (staying === undefined) combinations.push({ name: nameOfCombination(open), undos: open });
    else {
      needed.add(staying);
      if (open.length > 1 || whole.length > 1) substitutes.push(staying);
    }
    open = [];
  }
  const names = states.map(({ name }) => name);
  return {
    kept: names.filter((name) => kept.has(name)),
    dropped: names.filter((name) => !kept.has(name)),
    combinations,
    substitutes,
    removed: undos.filter((undo) => !needed.has(undo)),
  };
}

/** Part of the name of what a prune makes. */
export const COMBINATION = /-combined-[0-9a-f]{12}\.undo/;

/** The same in each run, so that the file of an interrupted run is found again. */
function nameOfCombination(undos: readonly Undo[]): string {
  const [first] = undos;
  const digest = createHash('sha256').update(`${first?.base ?? ''}\n${undos.at(-1)?.result ?? ''}`);
  const time = new Date(first?.time ?? 0).toISOString().replace(/[-:]|\.\d+/g, '');
  return `${time}-combined-${digest.digest('hex').slice(0, 12)}.undo`;
}

/** Undos that share states, directly or through others: they are of one volume. */
function connected(undos: readonly Undo[]): Undo[][] {
  const groupOf = new Map<string, { undos: Undo[]; states: Set<string> }>();
  for (const undo of undos) {
    const left = groupOf.get(undo.base) ?? { undos: [], states: new Set([undo.base]) };
    const right = groupOf.get(undo.result) ?? { undos: [], states: new Set([undo.result]) };
    if (left !== right) {
      left.undos.push(...right.undos);
      for (const state of right.states) left.states.add(state);
    }
    left.undos.push(undo);
    for (const state of left.states) groupOf.set(state, left);
  }
  return [...new Set(groupOf.values())].map((group) => group.undos);
}

/** The chain through every state; null if there is no such chain. */
function longestChain(states: States): Undo[] | null {
  const [head, ...others] = states.heads;
  if (head === undefined || others.length > 0) return null;
  const count = states.names.length;
  const chain: Undo[] = [];
  const passed = new Set([head]);
  for (let state = head; passed.size < count;) {
    const next = nearest(states, state);
    if (next === null || passed.has(next.result)) return null;
    chain.push(next);
    passed.add(next.result);
    state = next.result;
  }
  return chain;
}

/** Of the undos from a state, the one through whose result all others can be reached. */
function nearest(states: States, state: string): Undo | null {
  const undos = states.undosFrom(state);
  const [only, ...others] = undos;
  // So it is in nearly all of a long chain, which would be walked to its end from each state.
  if (only === undefined || others.length === 0) return only ?? null;
  return (
    undos.find(({ result }) => {
      const reached = states.waysFrom(result);
      return undos.every((other) => reached.has(other.result));
    }) ?? null
  );
}
