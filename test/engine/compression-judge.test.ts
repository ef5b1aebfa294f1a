import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TrialJudge } from '../../src/engine/compression-judge.js';

/** A line, a processor and a volume's bytes; rates in bytes a second. */
interface World {
  readonly line: number;
  /** What reading and framing can do at most. */
  readonly reading: number;
  readonly compressing: number;
  /** Compressed bytes to raw ones. */
  readonly ratio: number;
}

/** What lies between a writer and the line: ssh's window and socket. */
const BACKLOG = 4e6;
const AHEAD = 4;

/** Moves blocks through a world on a clock of its own. */
class Simulation {
  now = 0;
  private readonly judge = new TrialJudge(
    () => this.now,
    () => this.now * this.busyShare,
  );
  /** Decided when a block is made ready, some blocks before it goes out. */
  private readonly ready: boolean[] = [];
  private lineFreeAt = 0;
  private madeReadyAt = 0;
  packedBlocks = 0;

  /** @param busyShare of the time the sender's own thread is at work, whoever it seems to wait for */
  constructor(
    public world: World,
    private readonly busyShare = 0.1,
  ) {}

  /** Sends so many bytes in blocks; returns the seconds that took. */
  send(bytes: number, block = 1 << 20): number {
    const started = this.now;
    for (let sent = 0; sent < bytes; sent += block) this.sendBlock(block);
    return (this.now - started) / 1000;
  }

  private sendBlock(rawBytes: number): void {
    while (this.ready.length < AHEAD) this.ready.push(this.judge.wantsPacked);
    const wasTried = this.ready.shift() ?? false;
    const { line, reading, compressing, ratio } = this.world;
    this.madeReadyAt += (rawBytes * 1000) / (wasTried ? Math.min(compressing, reading) : reading);
    // No more than a few blocks are made ready ahead.
    this.madeReadyAt = Math.max(this.madeReadyAt, this.now - (AHEAD * rawBytes * 1000) / reading);
    this.now = Math.max(this.now, this.madeReadyAt);
    const sentBytes = wasTried && ratio < 15 / 16 ? rawBytes * ratio : rawBytes;
    this.lineFreeAt = Math.max(this.lineFreeAt, this.now) + (sentBytes * 1000) / line;
    const waitedMs = Math.max(0, this.lineFreeAt - (BACKLOG * 1000) / line - this.now);
    this.now += waitedMs;
    if (wasTried) this.packedBlocks += 1;
    this.judge.heard({ wasTried, rawBytes, sentBytes, waitedMs });
  }
}

/** Seconds for so many bytes, if it were known from the start what is best. */
function best(bytes: number, { line, reading, compressing, ratio }: World): number {
  const packed = ratio < 15 / 16 ? Math.min(line / ratio, compressing, reading) : 0;
  return bytes / Math.max(packed, Math.min(line, reading));
}

const SLOW = { line: 10e6, reading: 300e6, compressing: 200e6, ratio: 0.35 };
const FAST = { line: 2e9, reading: 300e6, compressing: 200e6, ratio: 0.35 };

describe('whether to compress', () => {
  it('yes, on a line that is slower than the processor', () => {
    const simulation = new Simulation(SLOW);
    expect(simulation.send(1e9)).toBeLessThan(best(1e9, SLOW) * 1.1);
  });

  it('no, on a line that is not', () => {
    const simulation = new Simulation(FAST);
    simulation.send(4e9);
    expect(simulation.packedBlocks).toBe(0);
  });

  it('no, where the line only seems to be waited for, as our own thread does all the work', () => {
    const simulation = new Simulation(SLOW, 0.9);
    simulation.send(1e9);
    expect(simulation.packedBlocks).toBe(0);
  });

  it('no, where the bytes do not become fewer: a trial ends after a few blocks', () => {
    const simulation = new Simulation({ ...SLOW, ratio: 1 });
    simulation.send(0.5e9);
    expect(simulation.packedBlocks).toBeLessThan(40);
  });

  it('no, where it makes nothing faster though the line is waited for', () => {
    // A line nearly as fast as compressing is.
    const world = { ...SLOW, line: 190e6 };
    const simulation = new Simulation(world);
    expect(simulation.send(10e9)).toBeLessThan(best(10e9, world) * 1.05);
    expect(simulation.packedBlocks).toBeLessThan(1000);
  });

  it('no, where the bytes do not become fewer; trials cost little', () => {
    const world = { ...SLOW, compressing: 50e6, line: 100e6, ratio: 1 };
    const simulation = new Simulation(world);
    expect(simulation.send(20e9)).toBeLessThan(best(20e9, world) * 1.05);
  });

  it('finds out when the line becomes slow, and when it becomes fast again', () => {
    const simulation = new Simulation(FAST);
    simulation.send(2e9);
    simulation.world = SLOW;
    expect(simulation.send(1e9)).toBeLessThan(best(1e9, SLOW) * 1.2);
    simulation.world = FAST;
    expect(simulation.send(4e9)).toBeLessThan(best(4e9, FAST) * 1.2);
  });

  it('gives up when the bytes stop becoming fewer', () => {
    const simulation = new Simulation(SLOW);
    simulation.send(1e9);
    simulation.world = { ...SLOW, ratio: 1 };
    simulation.send(0.2e9);
    const before = simulation.packedBlocks;
    simulation.send(2e9);
    expect(simulation.packedBlocks - before).toBeLessThan(2e9 / (1 << 20) / 2);
  });

  it('serves a transfer of a few seconds over a slow line too', () => {
    const slow = { ...SLOW, line: 1e6 };
    expect(new Simulation(slow).send(43e6)).toBeLessThan(0.62 * 43);
  });

  it('is never much worse than the best of both ways', () => {
    const world = fc.record({
      line: fc.integer({ min: 1e6, max: 1e9 }),
      reading: fc.constantFrom(100e6, 300e6, 600e6),
      compressing: fc.integer({ min: 30e6, max: 400e6 }),
      ratio: fc.double({ min: 0.05, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(world, fc.constantFrom(1 << 16, 1 << 20), (each, block) => {
        const bytes = Math.min(60 * Math.min(each.line, each.reading), 6000 * block);
        // Until it is found out, some blocks went out the wrong way.
        const finding = 2 + (14 * block) / each.line;
        expect(new Simulation(each).send(bytes, block)).toBeLessThan(best(bytes, each) * 1.25 + finding);
      }),
      { numRuns: 100 },
    );
  });
});
