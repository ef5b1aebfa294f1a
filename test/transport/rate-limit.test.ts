import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ByteSink } from '../../src/bytes/byte-channel.js';
import { limitRate } from '../../src/transport/rate-limit.js';

/** A clock that only sleeping and writing move, and what was written when. */
class World {
  now = 1_000_000;
  readonly written: { at: number; bytes: Buffer }[] = [];
  ended = false;

  /** @param late how much later than asked a sleeper wakes up, @param writeMs what a write takes */
  constructor(
    readonly late: () => number = () => 0,
    readonly writeMs: (length: number) => number = () => 0,
  ) {}

  readonly timing = {
    clock: () => this.now,
    sleep: (milliseconds: number) => {
      this.now += milliseconds + this.late();
      return Promise.resolve();
    },
  };
  readonly sink: ByteSink = {
    write: (piece) => {
      this.now += this.writeMs(piece.length);
      this.written.push({ at: this.now, bytes: Buffer.from(piece) });
      return Promise.resolve();
    },
    end: () => {
      this.ended = true;
      return Promise.resolve();
    },
  };

  /** The most that went out within any so many milliseconds. */
  mostWithin(milliseconds: number): number {
    let most = 0;
    let sum = 0;
    let first = 0;
    for (const { at, bytes } of this.written) {
      sum += bytes.length;
      for (let oldest = this.written[first]; oldest && oldest.at < at - milliseconds;) {
        sum -= oldest.bytes.length;
        oldest = this.written[++first];
      }
      most = Math.max(most, sum);
    }
    return most;
  }
}

const rates = fc.integer({ min: 1024, max: 1e9 });
const lengths = fc.array(fc.integer({ min: 1, max: 2e6 }), { minLength: 1, maxLength: 30 });

describe('a limited line', () => {
  it('takes what it is allowed within a tenth, over any two seconds, whatever comes in whatever pieces', async () => {
    await fc.assert(
      fc.asyncProperty(rates, lengths, fc.integer({ min: 0, max: 20 }), async (rate, pieces, late) => {
        const world = new World(() => late);
        const limited = limitRate(world.sink, rate, world.timing);
        const started = world.now;
        let sent = 0;
        for (const length of pieces) {
          // Not more than a minute's worth: slow lines get short pieces.
          const bytes = Math.min(length, Math.ceil((rate * 60) / pieces.length));
          await limited.write(Buffer.alloc(bytes));
          sent += bytes;
        }
        expect(world.mostWithin(2000)).toBeLessThanOrEqual(rate * 2 * 1.1);
        const seconds = (world.now - started) / 1000;
        if (seconds > 3) expect(sent / seconds).toBeGreaterThan(rate * 0.9);
      }),
      { numRuns: 60 },
    );
  });

  it('does not make up for a pause', async () => {
    const world = new World();
    const limited = limitRate(world.sink, 1e6, world.timing);
    for (let round = 0; round < 5; round++) {
      await limited.write(Buffer.alloc(3e6));
      world.now += 60_000;
    }
    expect(world.mostWithin(2000)).toBeLessThanOrEqual(2.2e6);
  });

  it('adds nothing to a line that is slower by itself', async () => {
    const world = new World(
      () => 0,
      (length) => length / 500,
    );
    const limited = limitRate(world.sink, 1e6, world.timing);
    const started = world.now;
    await limited.write(Buffer.alloc(5e6));
    expect(world.now - started).toBeCloseTo(10_000, -2);
  });

  it('keeps the order, whole pieces, and what was to be the end', async () => {
    const world = new World();
    const limited = limitRate(world.sink, 10_000, world.timing);
    const all = ['a', 'b', 'c'].map((letter) => limited.write(Buffer.alloc(2000, letter)));
    await Promise.all([...all, limited.end()]);
    const bytes = Buffer.concat(world.written.map((each) => each.bytes));
    expect(bytes.toString()).toBe('a'.repeat(2000) + 'b'.repeat(2000) + 'c'.repeat(2000));
    expect(world.ended).toBe(true);
  });

  it('passes on that nobody takes any more', async () => {
    const world = new World();
    const broken: ByteSink = { ...world.sink, write: () => Promise.reject(new Error('gone')) };
    const limited = limitRate(broken, 1e6, world.timing);
    await expect(limited.write(Buffer.alloc(10))).rejects.toThrow('gone');
    await expect(limited.write(Buffer.alloc(10))).rejects.toThrow('gone');
  });

  it('waits for real', async () => {
    const world = new World();
    const limited = limitRate(world.sink, 1e6, { clock: () => performance.now() });
    const started = performance.now();
    await limited.write(Buffer.alloc(200_000));
    expect(performance.now() - started).toBeGreaterThan(40);
  });
});
