import { describe, expect, it } from 'vitest';
import type { ListedArchive } from '../../src/chain/archive-folder.js';
import { describeRestore, planRestore, type RestoreGoal } from '../../src/chain/plan-restore.js';
import { States, type Undo } from '../../src/chain/states.js';
import { UsageError } from '../../src/errors.js';

function undo(base: string, result: string, time: number): Undo {
  const name = `${base}-${result}`;
  const archive: ListedArchive = {
    ...{ path: `/undo/${name}`, name, isLink: false, size: 1, modified: new Date(0) },
    ...{ protocol: 4, header: null, bytes: 0, problem: null },
  };
  return { archive, base, result, time };
}

/** "monday-2" is now; each state came to be at the time of the undo that leads back from it. */
const STATES = new States([
  undo('monday-2', 'monday-1', 300),
  undo('monday-1', 'sunday', 200),
  undo('sunday', 'saturday', 100),
  // a volume of its own
  undo('other-2', 'other-1', 50),
]);
const at = (time: number): RestoreGoal => ({ kind: 'time', time: new Date(time) });
const named = (name: string): RestoreGoal => ({ kind: 'state', name });

function planTo(goal: RestoreGoal, from = 'monday-2') {
  const { way, ...plan } = planRestore(STATES, from, goal, '/undo');
  return { ...plan, way: way.map(({ archive }) => archive.name) };
}

describe('the plan of a restore', () => {
  it.each([
    ['a time', at(150), { to: 'sunday', since: 100, way: ['monday-2-monday-1', 'monday-1-sunday'] }],
    ['the time of a change', at(200), { to: 'monday-1', since: 200, way: ['monday-2-monday-1'] }],
    ['a state by its name', named('monday-1'), { to: 'monday-1', since: 200, way: ['monday-2-monday-1'] }],
    ['the beginning of one name', named('sun'), { to: 'sunday', since: 100 }],
    ['a time before all that is known', at(10), { to: 'saturday', since: null }],
    ['the state that it is in', named('monday-2'), { to: 'monday-2', since: 300, way: [] }],
    ['a time after the last change', at(9999), { to: 'monday-2', since: 300, way: [] }],
  ] as const)('finds the way to %s', (_, goal, plan) => {
    expect(planTo(goal)).toMatchObject({ from: 'monday-2', ...plan });
  });

  it('takes a whole name for that state, even if another name begins with it', () => {
    const states = new States([undo('b', 'a1', 2), undo('a1', 'a', 1)]);
    expect(planRestore(states, 'b', named('a'), '/undo').to).toBe('a');
  });

  it.each([
    [
      'no state that can be reached',
      named('friday'),
      /--to friday: no archives lead to it from monday-2/,
      'monday-2',
    ],
    ['a state of another volume', named('other-1'), /--to other-1: no archives lead to it/, 'monday-2'],
    ['a later state', named('monday-2'), /no archives lead to it from sunday/, 'sunday'],
    ['two states', named('monday'), /--to monday: several states with this beginning/, 'monday-2'],
  ] as const)('refuses a name of %s', (_, goal, message, from) => {
    const plan = () => planTo(goal, from);
    expect(plan).toThrow(UsageError);
    expect(plan).toThrow(message);
    expect(plan).toThrow('"lvmsync archive list /undo" shows all states');
  });

  it('is shown with the state, since when it was there, and the archives', () => {
    const lines = (goal: RestoreGoal) =>
      describeRestore('/dev/vg/vm', planRestore(STATES, 'monday-2', goal, '/undo'));
    expect(lines(named('monday-1'))).toEqual([
      '/dev/vg/vm: from state monday-2 to monday-1 (since 1970-01-01T00:00:00.200Z), by 1 archive:',
      '  /undo/monday-2-monday-1',
    ]);
    expect(lines(at(10))[0]).toContain(
      'to saturday (the oldest one known: no archive here says since when), by 3 archives',
    );
    expect(lines(at(9999))).toEqual([
      '/dev/vg/vm: already in state monday-2 (since 1970-01-01T00:00:00.300Z): nothing to do',
    ]);
  });
});
