import { describe, expect, it } from 'vitest';
import { SnapshotError } from '../../src/errors.js';
import type { FillLevel } from '../../src/snapshots/fill-level.js';
import { FillingWatch } from '../../src/sources/watch-filling.js';

const MIB = 1024 * 1024;

/** A watch over one store of 100 MiB, at a time of our own; what it says, one look after another. */
function watch(emptySince: number | null = null) {
  const state = { used: 0, seconds: 0, fails: false };
  const said: string[] = [];
  const level = (): FillLevel => ({
    ...{ what: 'vg/snap: its store', used: state.used * MIB, size: 100 * MIB, advice: 'extend it' },
    emptyAt: () => Promise.resolve(emptySince),
  });
  const read = () => {
    if (state.fails) return Promise.reject(new SnapshotError('vg/snap', 'it is gone'));
    return Promise.resolve([level()]);
  };
  const env = {
    clock: () => state.seconds * 1000,
    now: () => new Date(state.seconds * 1000),
    notice: (line: string) => said.push(line),
  };
  const look = async (used: number, seconds: number): Promise<string[]> => {
    Object.assign(state, { used, seconds });
    if (looks === null) looks = await FillingWatch.begin(read, env);
    else await looks.look();
    await looks.stop();
    return said.splice(0);
  };
  let looks: FillingWatch | null = null;
  return { look, state };
}

describe('a store', () => {
  it('that has space is not mentioned', async () => {
    const { look } = watch();
    expect([await look(10, 0), await look(79, 10), await look(79.9, 20)]).toEqual([[], [], []]);
  });

  it('that is nearly full from the start gives a warning at once, with its average rate if that is known', async () => {
    expect(await watch().look(80, 0)).toEqual([
      'warning: vg/snap: its store is 80.0 % full (80.0 of 100.0 MiB); extend it',
    ]);
    expect(await watch(0).look(80, 7200)).toEqual([
      'warning: vg/snap: its store is 80.0 % full (80.0 of 100.0 MiB), filling by 0.7 MiB a minute, so it is full in 30 minutes; extend it',
    ]);
  });

  it('that fills up gives a warning at each step, with the rate of this run and the time left', async () => {
    const { look } = watch(0);
    expect(await look(70, 100_000)).toEqual([]);
    expect(await look(85, 100_030)).toEqual([
      'warning: vg/snap: its store is 85.0 % full (85.0 of 100.0 MiB), filling by 30.0 MiB a minute, so it is full in 30 s; extend it',
    ]);
    expect(await look(86, 100_031)).toEqual([]);
    expect(await look(96, 100_052)).toEqual([
      expect.stringMatching(/96\.0 % full .* a minute, so it is full in 8 s/),
    ]);
    expect(await look(97, 100_060)).toEqual([]);
    expect(await look(99.5, 100_061)).toEqual([expect.stringMatching(/99\.5 % full/)]);
  });

  it('whose first seconds show no rate has none', async () => {
    const { look } = watch();
    await look(70, 0);
    expect(await look(85, 4)).toEqual([
      expect.stringMatching(/85\.0 % full \(85\.0 of 100\.0 MiB\); extend it$/),
    ]);
  });

  it('that cannot be examined is left to the run', async () => {
    const { look, state } = watch();
    state.fails = true;
    expect(await look(99, 0)).toEqual([]);
  });
});
