import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BASE,
  contentsAfter,
  crashedBefore,
  expectRecovered,
  record,
  recordRecover,
  SECTOR,
  SIZE,
  type AnyBlock,
  type Crash,
  type Manner,
  type Recorded,
} from '../support/scenes/crash-recorder.js';

const SLOW = 60_000;

function crashed(recorded: Recorded, { moment, ...crash }: Crash) {
  return crashedBefore(recorded, Math.floor(moment * (recorded.steps.length + 1)), crash);
}

const anyBlock = fc.record({
  sector: fc.nat(SIZE / SECTOR - 1),
  count: fc.integer({ min: 1, max: 9 }),
  byte: fc.nat(200),
  thenFlush: fc.nat(5).map((n) => n === 0),
});
/** Half of all applies ascend, as streams do: only then do batches overlap. */
const anyBlocks = fc
  .tuple(fc.array(anyBlock, { minLength: 1, maxLength: 14 }), fc.boolean())
  .map(([blocks, ascend]) => (ascend ? ascending(blocks) : blocks));
const anyManner = fc.record({
  blockSize: fc.constantFrom(SECTOR, 2048),
  groupBytes: fc.constantFrom(4096, 8192, 8 * 1024 * 1024),
  checkpointBytes: fc.constantFrom(4096, 16_384, 128 * 1024 * 1024),
  turns: fc.array(fc.nat(6), { minLength: 1, maxLength: 12 }),
});
const fraction = fc.nat(999).map((n) => n / 1000);
const anyCrash = fc.record({
  moment: fraction,
  tail: fraction,
  landed: fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
});
const ONE_BATCH: Manner = {
  blockSize: SECTOR,
  groupBytes: 8 * 1024 * 1024,
  checkpointBytes: 128 * 1024 * 1024,
  turns: [0],
};

/** All of the target's writes landed, or none, or half of their sectors; of the journal only what was flushed, or more. */
const WORST_CRASHES = [
  { landed: [true], tail: 0 },
  { landed: [false], tail: 0 },
  { landed: [true, false], tail: 0 },
  { landed: [true, false], tail: 0.999 },
];

describe('a journal cut by a crash', () => {
  it(
    'takes the target back, wherever its tail is torn',
    async () => {
      // The second batch begins where the offsets go back.
      const blocks = [50, 3].map((sector) => ({ sector, count: 1, byte: 1, thenFlush: false }));
      const recorded = await record(blocks, ONE_BATCH);
      const [first] = recorded.steps;
      const firstBatch = first?.kind === 'journal synced' ? first.length : NaN;
      expect(recorded.begun).toBeLessThan(firstBatch);
      const afterFirst = Buffer.from(BASE);
      afterFirst.fill(1, 50 * SECTOR, 51 * SECTOR);
      expect(recorded.journal.length).toBeGreaterThan(firstBatch);
      for (let length = recorded.begun; length <= recorded.journal.length; length++) {
        // What is not whole in the journal has not begun to be written.
        const [begun, noted] = length < firstBatch ? [BASE, recorded.begun] : [afterFirst, firstBatch];
        const contents = length < recorded.ending ? begun : recorded.result;
        const journal = recorded.journal.subarray(0, length);
        await expectRecovered({ contents, journal, noted }, recorded, `cut at ${length}`);
      }
    },
    SLOW,
  );

  it(
    'takes it back from every moment of overlapping batches, or is complete, whatever was not flushed',
    async () => {
      const blocks = Array.from({ length: 21 }, (_, index) => ({
        sector: index * 3,
        count: 1 + (index % 3),
        byte: index % 7,
        thenFlush: false,
      }));
      for (const turns of [
        [1, 5, 2],
        [7, 0, 0, 3, 1],
      ]) {
        const manner = { ...ONE_BATCH, groupBytes: 8192, checkpointBytes: 8 * SECTOR, turns };
        const recorded = await record(blocks, manner);
        expect(recorded.overlaps).toBeGreaterThan(0);
        expect(recorded.steps.filter(({ kind }) => kind === 'target flushed').length).toBeGreaterThan(2);
        for (let done = 0; done <= recorded.steps.length; done++) {
          for (const crash of WORST_CRASHES) {
            const what = `${done} of ${recorded.steps.length} steps`;
            await expectRecovered(crashedBefore(recorded, done, crash), recorded, what);
          }
        }
      }
    },
    SLOW,
  );

  it(
    'takes it back from any moment of any apply, or is complete, whatever was not flushed',
    async () => {
      await fc.assert(
        fc.asyncProperty(
          anyBlocks,
          anyManner,
          fc.array(anyCrash, { minLength: 4, maxLength: 4 }),
          async (blocks, manner, crashes) => {
            const recorded = await record(blocks, manner);
            for (const crash of crashes) {
              await expectRecovered(crashed(recorded, crash), recorded, JSON.stringify(crash));
            }
          },
        ),
        { numRuns: 80 },
      );
    },
    SLOW,
  );

  it(
    'takes it back even if a crash came during an earlier recover, at any moment of both',
    async () => {
      await fc.assert(
        fc.asyncProperty(anyBlocks, anyManner, anyCrash, async (blocks, manner, crash) => {
          const recorded = await record(blocks, manner);
          const left = crashed(recorded, crash);
          // One that was done is not taken back.
          if (left.journal.length === recorded.journal.length) return;
          const steps = await recordRecover(left, manner.turns);
          for (let done = 0; done <= steps.length; done++) {
            const before = steps.slice(0, done);
            const { isUndoing } = before.at(-1) ?? steps[0] ?? {};
            for (const { landed } of [...WORST_CRASHES, crash]) {
              const contents = contentsAfter(before, left.contents, landed);
              const again = { ...left, contents, ...(isUndoing && { isUndoing }) };
              await expectRecovered(again, recorded, `${done} of ${steps.length} steps`);
            }
          }
        }),
        { numRuns: 40 },
      );
    },
    SLOW,
  );
});

/** The blocks in order, without those that overlap the one before. */
function ascending(blocks: readonly AnyBlock[]): AnyBlock[] {
  let end = 0;
  return [...blocks]
    .sort((a, b) => a.sector - b.sector)
    .filter(({ sector, count }) => {
      if (sector < end) return false;
      end = sector + count;
      return true;
    });
}
