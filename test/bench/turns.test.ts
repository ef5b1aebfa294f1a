import { describe, expect, it } from 'vitest';
import { atMost, verdictOf } from './figures.js';
import {
  peakOf,
  processorTo,
  readFigure,
  runInTurns,
  speedTo,
  timeTo,
  type Rival,
  type Sample,
  type Turns,
} from './turns.js';

/** Rounds of two rivals, by their seconds. */
function turnsOf(...seconds: readonly [ours: number, theirs: number][]): Turns {
  const rounds = seconds.map(
    ([ours, theirs]) =>
      new Map<string, Sample>([
        ['ours', { seconds: ours }],
        ['theirs', { seconds: theirs }],
      ]),
  );
  return { rounds, failures: new Map() };
}

describe('a figure of rivals that ran in turn', () => {
  it('is the median of the ratios of each round, not the ratio of the medians', () => {
    // the medians are 4 and 2
    const turns = turnsOf([1, 2], [4, 1], [9, 3]);
    const figure = readFigure(turns, { what: 'time', ...timeTo('ours', 'theirs') });
    expect(figure).toEqual({
      ...{ what: 'time', unit: '×', runs: 3, bar: null },
      spread: { median: 3, least: 0.5, most: 4 },
    });
  });

  it('is between the middle two of an even number', () => {
    const turns = turnsOf([1, 1], [2, 1], [4, 1], [100, 1]);
    expect(readFigure(turns, { what: '', ...timeTo('ours', 'theirs') }).spread?.median).toBe(3);
  });

  it('is above 1 for the faster one if it is a speed', () => {
    const { spread } = readFigure(turnsOf([2, 8]), { what: '', ...speedTo('ours', 'theirs') });
    expect(spread?.median).toBe(4);
  });

  it('compares processor time, and takes the larger peak of memory', () => {
    const round = new Map<string, Sample>([
      ['ours', { seconds: 1, processor: 3, far: 90e6 }],
      ['theirs', { seconds: 1, processor: 6, far: 120e6 }],
    ]);
    const turns: Turns = { rounds: [round], failures: new Map() };
    expect(readFigure(turns, { what: '', ...processorTo('ours', 'theirs') }).spread?.median).toBe(0.5);
    expect(readFigure(turns, { what: '', ...peakOf('far', 'ours', 'theirs') }).spread?.most).toBe(120);
  });

  it('has failed where one of its rivals failed', () => {
    const turns = { ...turnsOf([1, 1]), failures: new Map([['theirs', 'no space']]) };
    const figure = readFigure(turns, { what: '', ...timeTo('ours', 'theirs'), bar: atMost(3) });
    expect(figure.spread).toBeNull();
    expect(verdictOf(figure)).toBe('failed');
  });
});

describe('rivals that run in turn', () => {
  it('run once more than asked, each as often, and take turns at being first', async () => {
    const order: string[] = [];
    const rival =
      (name: string): Rival =>
      () => {
        order.push(name);
        return Promise.resolve({ seconds: order.length });
      };
    const rivals = new Map(['a', 'b', 'c'].map((name) => [name, rival(name)]));
    const { rounds, failures } = await runInTurns(rivals, 2);
    expect(order.join('')).toBe('abcbcacab');
    expect(rounds.map((round) => round.get('a')?.seconds)).toEqual([6, 8]);
    expect(failures.size).toBe(0);
  });

  it('go on without one that fails, which is not run again', async () => {
    let [tries, runs] = [0, 0];
    const rivals = new Map<string, Rival>([
      ['bad', () => Promise.reject(new Error(`status 3: try ${(tries += 1)}`))],
      ['good', () => Promise.resolve({ seconds: (runs += 1) })],
    ]);
    const { rounds, failures } = await runInTurns(rivals, 4);
    expect([...failures]).toEqual([['bad', 'status 3: try 1']]);
    expect(rounds.map((round) => round.get('good')?.seconds)).toEqual([2, 3, 4, 5]);
  });
});
