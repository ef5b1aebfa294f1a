import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { workAhead } from '../../src/codec/work-ahead.js';

/** Work that ends when it is told to. */
class Bench {
  readonly started: number[] = [];
  readonly dropped: number[] = [];
  private readonly ends = new Map<number, { resolve: (n: number) => void; reject: (e: Error) => void }>();

  readonly work = (n: number): Promise<number> => {
    this.started.push(n);
    return new Promise((resolve, reject) => this.ends.set(n, { resolve, reject }));
  };
  readonly drop = (n: number): void => {
    this.dropped.push(n);
  };
  end(...numbers: readonly number[]): void {
    for (const n of numbers) this.ends.get(n)?.resolve(n);
  }
  fail(n: number): void {
    this.ends.get(n)?.reject(new Error(`work ${n} failed`));
  }
}

async function* count(to: number, fault?: Error) {
  for (let n = 1; n <= to; n++) yield await Promise.resolve(n);
  if (fault) throw fault;
}

async function takeAll(results: AsyncIterable<number>): Promise<number[]> {
  const all: number[] = [];
  for await (const n of results) all.push(n);
  return all;
}

/** Long enough for everything that can go on to do so. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await nextTurn();
}

describe('work ahead', () => {
  it('gives results in the order of the source, whichever ends first', async () => {
    const bench = new Bench();
    const results = takeAll(workAhead(count(5), 5, bench.work, bench.drop));
    await settle();
    for (const n of [4, 2, 5, 1, 3]) bench.end(n);
    expect(await results).toEqual([1, 2, 3, 4, 5]);
    expect(bench.dropped).toEqual([]);
  });

  it('does no more at once than allowed, including the result in use', async () => {
    const bench = new Bench();
    const results = workAhead(count(10), 3, bench.work, bench.drop);
    const first = results.next();
    await settle();
    expect(bench.started).toEqual([1, 2, 3]);
    bench.end(1, 2, 3);
    expect((await first).value).toBe(1);
    await settle();
    expect(bench.started).toEqual([1, 2, 3]);
    expect((await results.next()).value).toBe(2);
    await settle();
    expect(bench.started).toEqual([1, 2, 3, 4]);
  });

  it('yields what is done while the source is silent', async () => {
    const silent = (async function* () {
      yield* count(2);
      await new Promise(() => undefined);
    })();
    const results = workAhead(
      silent,
      4,
      (n) => Promise.resolve(n),
      () => undefined,
    );
    expect((await results.next()).value).toBe(1);
    expect((await results.next()).value).toBe(2);
  });

  it('reports the failure of work in its turn, and drops the results after it', async () => {
    const bench = new Bench();
    const results = workAhead(count(9), 4, bench.work, bench.drop);
    const first = results.next();
    await settle();
    bench.fail(2);
    bench.end(1, 3, 4);
    expect((await first).value).toBe(1);
    await expect(
      (async () => {
        const second = results.next();
        await settle();
        bench.end(5);
        await second;
      })(),
    ).rejects.toThrow('work 2 failed');
    expect(bench.dropped).toEqual([3, 4, 5]);
  });

  it('reports the failure of the source after what came before', async () => {
    const results = workAhead(
      count(3, new Error('torn')),
      2,
      (n) => Promise.resolve(n),
      () => undefined,
    );
    const seen: number[] = [];
    await expect(
      (async () => {
        for await (const n of results) seen.push(n);
      })(),
    ).rejects.toThrow('torn');
    expect(seen).toEqual([1, 2, 3]);
  });

  it('drops what no one takes any more, and closes the source', async () => {
    let isClosed = false;
    const source = (async function* () {
      try {
        yield* count(10);
      } finally {
        isClosed = true;
      }
    })();
    const bench = new Bench();
    for await (const n of workAhead(source, 3, (n) => Promise.resolve(n), bench.drop)) if (n === 2) break;
    expect(isClosed).toBe(true);
    expect(bench.dropped).toEqual([3, 4]);
  });
});
