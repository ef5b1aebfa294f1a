import { UsageError } from '../errors.js';
import type { States, Undo } from './states.js';

/** The state to go back to: the state at a time, or a state by its name or the beginning of its name. */
export type RestoreGoal =
  { readonly kind: 'time'; readonly time: Date } | { readonly kind: 'state'; readonly name: string };

/** The way from the state that a target is in to an earlier one. */
export interface RestorePlan {
  readonly from: string;
  readonly to: string;
  /** When the volume came into that state: milliseconds since 1970; null: before everything that is known. */
  readonly since: number | null;
  /** The undos, in the order in which they are applied. Empty if there is nothing to do. */
  readonly way: readonly Undo[];
}

/**
 * Finds the way to a goal, by the states that undos connect and by nothing else. Throws UsageError if no undos lead to the
 * goal, or if its name is the beginning of several.
 *
 * @param from the state that the target is in
 * @param folder where the undos are, for messages
 */
export function planRestore(states: States, from: string, goal: RestoreGoal, folder: string): RestorePlan {
  const ways = states.waysFrom(from);
  const to =
    goal.kind === 'time'
      ? states.stateAt(goal.time.getTime(), from)
      : findState(ways.states, goal.name, from, folder);
  return { from, to, since: states.beginOf(to), way: ways.to(to) };
}

function findState(reachable: readonly string[], name: string, from: string, folder: string): string {
  if (reachable.includes(name)) return name;
  const [found, ...others] = reachable.filter((each) => each.startsWith(name));
  if (found !== undefined && others.length === 0) return found;
  const problem =
    found === undefined ? 'no archives lead to it' : 'several states with this beginning are reachable';
  throw new UsageError(
    `--to ${name}: ${problem} from ${from} ("lvmsync archive list ${folder}" shows all states)`,
  );
}

/** A plan in lines, for its user. */
export function describeRestore(path: string, { from, to, since, way }: RestorePlan): string[] {
  const when =
    since === null
      ? 'the oldest one known: no archive here says since when'
      : `since ${new Date(since).toISOString()}`;
  if (way.length === 0) return [`${path}: already in state ${from} (${when}): nothing to do`];
  return [
    `${path}: from state ${from} to ${to} (${when}), by ${way.length === 1 ? '1 archive' : `${way.length} archives as one`}:`,
    ...way.map(({ archive }) => `  ${archive.path}`),
  ];
}
