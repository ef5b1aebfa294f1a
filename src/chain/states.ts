import { openArchive, type Archive } from '../archive/archive.js';
import { BaseMismatchError } from '../errors.js';
import { timeOf, type ListedArchive } from './archive-folder.js';

/** An undo from one state with a name to another. */
export interface Undo {
  readonly archive: ListedArchive;
  readonly base: string;
  readonly result: string;
  /** When the volume came into its base state, by the clock of the undo's maker. Milliseconds. */
  readonly time: number;
}

/** The undos among archives: complete, and with the identities of two states. */
export function undosOf(archives: readonly ListedArchive[]): Undo[] {
  return archives.flatMap((archive) => {
    const { header, problem } = archive;
    if (problem !== null || header?.kind !== 'undo') return [];
    const { base, result } = header;
    // The undo of a transfer that had nothing to do leads nowhere.
    if (base === null || result === null || base === result) return [];
    return [{ archive, base, result, time: timeOf(archive) }];
  });
}

/** The complete undos without a name for one of their states, or for both: nothing tells where they belong. */
export function namelessUndosOf(archives: readonly ListedArchive[]): ListedArchive[] {
  return archives.filter(
    ({ header, problem }) =>
      problem === null && header?.kind === 'undo' && (header.base === null || header.result === null),
  );
}

/** Opens an undo of a plan. Throws BaseMismatchError if another file has its name by now; as `openArchive`. */
export async function openUndo({ archive: { path }, base, result }: Undo): Promise<Archive> {
  const archive = await openArchive(path);
  if (archive.base === base && archive.result === result) return archive;
  const now = `it leads from ${archive.base ?? '?'} to ${archive.result ?? '?'}`;
  throw new BaseMismatchError(
    path,
    null,
    `${now}, but a moment ago it led from ${base} to ${result}: try again`,
  );
}

/** The ways from a state to each state that can be reached, with the fewest undos. */
export class Ways {
  /** @param last the undo that each way ends with; null: the way's start. The nearest states come first */
  constructor(private readonly last: ReadonlyMap<string, Undo | null>) {}

  /** The states that can be reached, the nearest first. */
  get states(): string[] {
    return [...this.last.keys()];
  }

  has(state: string): boolean {
    return this.last.has(state);
  }

  /** The undos to a state, in the order in which they are applied; empty for a state that cannot be reached. */
  to(state: string): Undo[] {
    const way: Undo[] = [];
    let undo = this.last.get(state) ?? null;
    while (undo !== null) {
      way.push(undo);
      undo = this.last.get(undo.base) ?? null;
    }
    return way.reverse();
  }
}

/** The states of a volume that undos connect. Several undos may connect the same states. */
export class States {
  private readonly from = new Map<string, Undo[]>();
  private readonly results = new Set<string>();

  constructor(readonly undos: readonly Undo[]) {
    for (const undo of undos) {
      const others = this.from.get(undo.base);
      if (others === undefined) this.from.set(undo.base, [undo]);
      else others.push(undo);
      this.results.add(undo.result);
    }
  }

  has(state: string): boolean {
    return this.from.has(state) || this.results.has(state);
  }

  /** All states. */
  get names(): string[] {
    return [...new Set([...this.from.keys(), ...this.results])];
  }

  /** The states that no undo leads to: the latest of each volume. */
  get heads(): string[] {
    return [...this.from.keys()].filter((state) => !this.results.has(state));
  }

  undosFrom(state: string): readonly Undo[] {
    return this.from.get(state) ?? [];
  }

  /**
   * When the volume came into a state; null if no undo leads back from it: that was before all that is known.
   * Milliseconds.
   */
  beginOf(state: string): number | null {
    const undos = this.undosFrom(state);
    return undos.length === 0 ? null : Math.min(...undos.map(({ time }) => time));
  }

  /** The ways from a state to each state that can be reached. */
  waysFrom(state: string): Ways {
    const last = new Map<string, Undo | null>([[state, null]]);
    // A map is iterated in insertion order, including keys that are added meanwhile.
    for (const reached of last.keys()) {
      for (const undo of this.undosFrom(reached)) {
        if (!last.has(undo.result)) last.set(undo.result, undo);
      }
    }
    return new Ways(last);
  }

  /** The state that a volume, now in `state`, was in at a time: the last one that had begun by then. */
  stateAt(time: number, state: string): string {
    let found: { readonly name: string; readonly begin: number } | null = null;
    let oldest = state;
    for (const name of this.waysFrom(state).states) {
      const begin = this.beginOf(name);
      if (begin === null) oldest = name;
      else if (begin <= time && begin > (found?.begin ?? -Infinity)) found = { name, begin };
    }
    return found?.name ?? oldest;
  }
}

/** What the undos among archives connect, and what they leave open. */
export interface StatesHere {
  readonly states: States;
  /** The undos that lack a name. */
  readonly nameless: readonly ListedArchive[];
  /** The names of all states, also of those that only such an undo has. */
  readonly known: readonly string[];
}

/** The states of the undos among archives. */
export function statesOf(archives: readonly ListedArchive[]): StatesHere {
  const [states, nameless] = [new States(undosOf(archives)), namelessUndosOf(archives)];
  const others = nameless.flatMap(({ header }) => [header?.base, header?.result].filter(isName));
  return { states, nameless, known: [...states.names, ...others] };
}

function isName(name: string | null | undefined): name is string {
  return typeof name === 'string';
}
