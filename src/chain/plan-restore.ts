import { countOf } from '../bytes/amounts.js';
import { UsageError } from '../errors.js';
import type { ListedArchive } from './archive-folder.js';
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

/**
 * Throws UsageError for a goal that is neither a time nor the name of a state, or the beginning of one.
 *
 * @param known the names of all states that the archives and the target's record know
 * @param folder where the archives are, for messages
 */
export function checkGoal(goal: RestoreGoal, known: readonly string[], folder: string): void {
  if (goal.kind === 'time' || known.some((name) => name.startsWith(goal.name))) return;
  const times = '2026-11-21, 2026-11-21T15:04 or 2026-11-21T15:04:05Z';
  throw new UsageError(
    `--to ${goal.name}: this is neither a time nor the name of a known state: give a time, such as ${times}, or a ` +
      `state by its name or the beginning of its name ("lvmsync archive list ${folder}" shows all states)`,
  );
}

/** Why a restore leaves out an undo without a name for one of its states, and what can be done with it. */
export function describeSkipped({ path, header }: ListedArchive): string {
  const which = header?.base === null ? 'starts from' : 'leads to';
  return (
    `skipped: ${path}: the state that it ${which} has no name, so its place in the order is unknown ` +
    `("lvmsync --apply ${path} TARGET" applies it by itself)`
  );
}

/**
 * Why there is no way from a state that no undo with names starts from, in words after the target's name.
 *
 * @param nameless the undos of the folder that lack a name
 */
export function whyNoWay(
  state: string,
  nameless: readonly ListedArchive[],
  { folder, targetPath }: { readonly folder: string; readonly targetPath: string },
): string {
  const from = nameless.filter(({ header }) => header?.base === state).map(({ path }) => path);
  const held = `it holds exactly ${state}`;
  if (from.length === 0) return `${held}, and no archive in ${folder} starts from that state`;
  const [start, lead] = from.length === 1 ? ['starts', 'it leads'] : ['start', 'they lead'];
  return (
    `${held}. ${from.join(' and ')} ${start} from that state, but the state that ${lead} to has no name, so restore ` +
    `cannot use ${from.length === 1 ? 'it' : 'them'}: "lvmsync --apply ${from[0] ?? ''} ${targetPath}" applies ${from.length === 1 ? 'it by itself' : 'the first of them'}`
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
    `${path}: from state ${from} to ${to} (${when}), by ${countOf(way.length, 'archive')}${way.length === 1 ? '' : ' as one'}:`,
    ...way.map(({ archive }) => `  ${archive.path}`),
  ];
}
