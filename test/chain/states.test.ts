import { describe, expect, it } from 'vitest';
import type { ListedArchive } from '../../src/chain/archive-folder.js';
import { keptStates, type KeepRules } from '../../src/chain/keep-rules.js';
import { planPruning } from '../../src/chain/pruning.js';
import { States, type Undo } from '../../src/chain/states.js';

const NO_RULES: KeepRules = { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0 };

function undo(base: string, result: string, time: number): Undo {
  const name = `${base}${result}`;
  const archive: ListedArchive = {
    ...{ path: `/undo/${name}`, name, isLink: false, size: 1, modified: new Date(0) },
    ...{ protocol: 4, header: null, bytes: 0, problem: null },
  };
  return { archive, base, result, time };
}
const namesOf = (undos: readonly Undo[]) => undos.map(({ archive }) => archive.name);

/** E is now; each state came to be at the time of the undo that leads on from it. */
const CHAIN = [undo('E', 'D', 50), undo('D', 'C', 40), undo('C', 'B', 30), undo('B', 'A', 20)];

describe('the state at a time', () => {
  const states = new States(CHAIN);

  it.each([
    [60, 'E'],
    [50, 'E'],
    [49, 'D'],
    [39, 'C'],
    [20, 'B'],
    [19, 'A'],
    [0, 'A'],
  ])('%s is the latest that existed by then: %s', (time, state) => {
    expect(states.stateAt(time, 'E')).toBe(state);
  });

  it('is never newer than the state that the volume is in', () => {
    expect(states.stateAt(60, 'C')).toBe('C');
  });

  it('is the state before it if that one was dropped', () => {
    const pruned = new States([undo('E', 'D', 50), undo('D', 'B', 40), undo('B', 'A', 20)]);
    expect(pruned.stateAt(35, 'E')).toBe('B');
  });
});

describe('the way to a state', () => {
  it('has the fewest undos that lead there', () => {
    const states = new States([...CHAIN, undo('D', 'B', 40)]);
    expect(namesOf(states.waysFrom('E').to('A'))).toEqual(['ED', 'DB', 'BA']);
    expect(namesOf(states.waysFrom('E').to('C'))).toEqual(['ED', 'DC']);
    expect(states.waysFrom('B').has('C')).toBe(false);
  });

  it('ends if a state comes twice', () => {
    const states = new States([undo('B', 'A', 2), undo('A', 'B', 1)]);
    expect(states.waysFrom('B').states).toEqual(['B', 'A']);
  });
});

describe('rules', () => {
  const at = (...times: readonly string[]) => times.map((time) => ({ name: time, begin: new Date(time) }));
  const kept = (states: ReturnType<typeof at>, rules: Partial<KeepRules>) => [
    ...keptStates(states, { ...NO_RULES, ...rules }),
  ];

  it('keep the last state of each period that has one', () => {
    const states = at(
      '2026-03-05T12:40',
      '2026-03-05T12:10',
      '2026-03-05T09:59',
      '2026-03-02T09:00',
      '2026-03-01T09:00',
    );
    expect(kept(states, { hourly: 2 })).toEqual(['2026-03-05T12:40', '2026-03-05T09:59']);
    expect(kept(states, { daily: 2 })).toEqual(['2026-03-05T12:40', '2026-03-02T09:00']);
    // the 2nd of March 2026 is a Monday
    expect(kept(states, { weekly: 5 })).toEqual(['2026-03-05T12:40', '2026-03-01T09:00']);
    expect(kept(states, { monthly: 5 })).toEqual(['2026-03-05T12:40']);
    expect(kept(states, { last: 2 })).toEqual(['2026-03-05T12:40', '2026-03-05T12:10']);
    expect(kept(states, { last: 2, daily: 2 })).toHaveLength(3);
  });
});

describe('pruning', () => {
  const months = ['2026-05-05', '2026-04-20', '2026-04-10', '2026-03-05'].map((day) =>
    Date.parse(`${day}T12:00`),
  );
  const [may = 0, lateApril = 0, april = 0, march = 0] = months;
  /** D came to be late in April, C in April, B and A in March at the latest. */
  const chain = [
    undo('E', 'D', may),
    undo('D', 'C', lateApril),
    undo('C', 'B', april),
    undo('B', 'A', march),
  ];
  const plan = (undos: readonly Undo[], rules: Partial<KeepRules>) => {
    const { plans, unpruned } = planPruning(undos, { ...NO_RULES, ...rules });
    const [one] = plans;
    return {
      kept: one?.kept,
      combined: one?.combinations.map((each) => namesOf(each.undos)),
      removed: namesOf(one?.removed ?? []),
      unpruned: unpruned.length,
      plans: plans.length,
    };
  };
  const ONE = { unpruned: 0, plans: 1 };

  it('combines the undos around a dropped state, and drops those that lead further back than every kept state', () => {
    expect(plan(chain, { monthly: 2 })).toEqual({
      ...ONE,
      kept: ['D', 'B'],
      combined: [['DC', 'CB']],
      removed: ['DC', 'CB', 'BA'],
    });
  });

  it('does nothing if all states are kept', () => {
    expect(plan(chain, { last: 9 })).toEqual({
      ...ONE,
      kept: ['D', 'C', 'B', 'A'],
      combined: [],
      removed: [],
    });
  });

  it('continues a prune that was cut short: the combination was written, and its parts are still there', () => {
    const made = undo('D', 'B', lateApril);
    const after = plan([...chain, made], { monthly: 2 });
    expect(after).toEqual({ ...ONE, kept: ['D', 'B'], combined: [], removed: ['DC', 'CB', 'BA'] });
  });

  it('done once more, drops nothing more', () => {
    expect(plan([undo('E', 'D', may), undo('D', 'B', lateApril)], { monthly: 2 })).toEqual({
      ...ONE,
      kept: ['D', 'B'],
      combined: [],
      removed: [],
    });
  });

  it('treats each volume separately', () => {
    const other = [undo('Z', 'Y', may), undo('Y', 'X', april)];
    expect(planPruning([...chain, ...other], { ...NO_RULES, last: 1 }).plans.map(({ kept }) => kept)).toEqual(
      [['D'], ['Y']],
    );
  });

  // A walk from each of its states to its end took minutes.
  it('is planned at once for a long chain', () => {
    const count = 5000;
    const line = Array.from({ length: count }, (_, index) =>
      undo(`S${count - index}`, `S${count - index - 1}`, count - index),
    );
    const began = performance.now();
    expect(plan(line, { last: 1 })).toMatchObject({ ...ONE, kept: [`S${count - 1}`] });
    expect(new States(line).waysFrom(`S${count}`).to('S0')).toHaveLength(count);
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  it('leaves undos alone that do not form a single chain', () => {
    expect(plan([...chain, undo('D', 'Q', april)], { last: 1 })).toMatchObject({ unpruned: 1, plans: 0 });
    expect(plan([undo('B', 'A', march), undo('A', 'B', april)], { last: 1 })).toMatchObject({
      unpruned: 1,
      plans: 0,
    });
  });
});
