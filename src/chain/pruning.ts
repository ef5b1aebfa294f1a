import { createHash } from 'node:crypto';
import { keptStates, type KeepRules } from './keep-rules.js';
import { States, type Undo } from './states.js';

/** What pruning one volume's undos comes to. */
export interface PrunePlan {
  /** Its states that can still be reached afterwards, the latest first; not the one that all lead back from. */
  readonly kept: readonly string[];
  readonly dropped: readonly string[];
  /** Undos that become one, in the order of their effect. */
  readonly combinations: readonly { readonly name: string; readonly undos: readonly Undo[] }[];
  /** Undos that stay and stand for others that go, which they must be whole for. */
  readonly substitutes: readonly Undo[];
  /** Undos that nothing needs any more, once the combinations are there. */
  readonly removed: readonly Undo[];
}

/** Undos that cannot be pruned, and why. */
export interface UnprunedUndos {
  readonly undos: readonly Undo[];
  readonly reason: string;
}

/**
 * Plans what is to be done with a folder's undos so that just the states that the rules keep, and the latest of each
 * volume, can be reached. What a prune that was cut short left, an undo beside those that it combines, is no obstacle.
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
      const reason = 'their states do not form one line, so which of them leads on is not for us to say';
      unpruned.push({ undos: volume, reason });
    } else plans.push(planOne(chain, volume, rules));
  }
  return { plans, unpruned };
}

function planOne(chain: readonly Undo[], undos: readonly Undo[], rules: KeepRules): PrunePlan {
  // A state came to be when the undo that leads on from it was made.
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
    // A link may lead to one of the others: then the file must not go for it.
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

/** In the name of what a prune makes. */
export const COMBINATION = /-combined-[0-9a-f]{12}\.undo/;

/** The same in each run, so that one that was cut short is found again. */
function nameOfCombination(undos: readonly Undo[]): string {
  const [first] = undos;
  const digest = createHash('sha256').update(`${first?.base ?? ''}\n${undos.at(-1)?.result ?? ''}`);
  const time = new Date(first?.time ?? 0).toISOString().replace(/[-:]|\.\d+/g, '');
  return `${time}-combined-${digest.digest('hex').slice(0, 12)}.undo`;
}

/** Undos that share states, directly or through others: of one volume. */
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

/** The chain that passes every state; null where there is none. */
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

/** Of the undos that lead on from a state, the one whose result all others can be reached through. */
function nearest(states: States, state: string): Undo | null {
  const undos = states.undosFrom(state);
  return (
    undos.find(({ result }) => {
      const reached = states.waysFrom(result);
      return undos.every((other) => reached.has(other.result));
    }) ?? null
  );
}
