import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Applier } from '../../src/target/applier.js';
import { Journal } from '../../src/target/journal.js';
import { recoverTarget } from '../../src/target/recover.js';
import { dataBlock, patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { pool } from '../support/streams.js';

const SECTOR = 512;
const SIZE = 64 * SECTOR;
const BASE = patterned(SIZE);
const SLOW = 60_000;
let parent: string;

beforeAll(() => {
  parent = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lvmsync-crash-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

/** What an apply did that a crash can come between. Ticks count what began and ended, in order. */
type Step =
  | {
      readonly kind: 'write';
      readonly offset: number;
      readonly bytes: Buffer;
      /** The tick of its end. */
      ended: number;
    }
  | {
      readonly kind: 'target flushed';
      /** The tick of its beginning: what was written to its end before that is on stable storage. */
      readonly began: number;
    }
  | {
      readonly kind: 'journal synced';
      /** What the journal's file held when it began: so much is on stable storage. */
      readonly length: number;
    };

/** How long each thing takes that an apply waits for, in turns of the event loop; used round and round. */
class Delays {
  private next = 0;

  constructor(private readonly turns: readonly number[]) {}

  async wait(): Promise<void> {
    const turns = this.turns[this.next++ % this.turns.length] ?? 0;
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A device that takes its time, and tells of its writes and flushes. */
class RecordingDevice extends MemoryDevice {
  private tick = 0;

  constructor(
    private readonly record: (step: Step) => void,
    private readonly delays: Delays,
  ) {
    super(BASE, '/dev/t');
  }

  override async readAt(bytes: Uint8Array, offset: number): Promise<void> {
    await this.delays.wait();
    await super.readAt(bytes, offset);
  }

  override async writeAt(bytes: Uint8Array, offset: number): Promise<void> {
    await this.recordWrite(offset, Buffer.from(bytes), () => super.writeAt(bytes, offset));
  }

  override async zero(offset: number, length: number): Promise<void> {
    await this.recordWrite(offset, Buffer.alloc(length), () => super.zero(offset, length));
  }

  override async flush(): Promise<void> {
    const began = this.tick++;
    // Long enough for other batches to go by.
    for (let times = 0; times < 6; times++) await this.delays.wait();
    await super.flush();
    this.record({ kind: 'target flushed', began });
  }

  private async recordWrite(offset: number, bytes: Buffer, write: () => Promise<void>): Promise<void> {
    const step: Step = { kind: 'write', offset, bytes, ended: Infinity };
    this.record(step);
    await this.delays.wait();
    await write();
    step.ended = this.tick++;
  }
}

interface AnyBlock {
  readonly sector: number;
  readonly count: number;
  readonly byte: number;
  /** Whether the target is flushed, and the journal told, after it. */
  readonly thenFlush: boolean;
}

/** How an apply goes about it. */
interface Manner {
  /** Of the volume, bytes: blocks that are not whole ones of these are saved with what lies around them. */
  readonly blockSize: number;
  readonly batchBytes: number;
  readonly checkpointBytes: number;
  readonly turns: readonly number[];
}

/** An apply that was recorded: each step with the length that the journal had by then. */
interface Recorded {
  readonly steps: readonly (Step & { readonly journalLength: number })[];
  readonly journal: Buffer;
  /** What the target holds when all is done. */
  readonly result: Buffer;
  /** The journal's length when the note of it was made: so much is on stable storage whatever happens. */
  readonly begun: number;
  /** Where in the journal its end frame begins, which says that all is done. */
  readonly ending: number;
  /** How often the journal grew while it was flushed: batches that overlapped. */
  readonly overlaps: number;
}

async function record(blocks: readonly AnyBlock[], manner: Manner): Promise<Recorded> {
  const steps: (Step & { journalLength: number })[] = [];
  let path = '';
  const add = (step: Step) => {
    steps.push(Object.assign(step, { journalLength: statSync(path).size }));
  };
  const { blockSize, batchBytes, checkpointBytes, turns } = manner;
  const delays = new Delays(turns);
  const device = new RecordingDevice(add, delays);
  const target = openInMemory(device, parent);
  const journal = await Journal.begin(target.folder, undoFor(SIZE, blockSize), null);
  const { log } = journal;
  path = log.path;
  const begun = statSync(path).size;
  let overlaps = 0;
  const sync = log.sync.bind(log);
  vi.spyOn(log, 'sync').mockImplementation(async () => {
    const { size: length } = statSync(path);
    await delays.wait();
    await sync();
    add({ kind: 'journal synced', length });
    if (statSync(path).size > length) overlaps += 1;
  });
  const applier = new Applier(device, { log, lendOld: pool(), batchBytes, checkpointBytes });
  for (const { sector, count, byte, thenFlush } of blocks) {
    const [offset, length] = [sector * SECTOR, Math.min(count, SIZE / SECTOR - sector) * SECTOR];
    if (byte === 0) await applier.apply({ kind: 'zero', offset, length });
    else await applier.apply(dataBlock(offset, length, byte));
    if (!thenFlush) continue;
    await applier.finish();
    await log.markFlushed(log.announced);
  }
  await applier.finish();
  await log.handOver();
  const ending = statSync(path).size;
  await log.end();
  await log.close();
  const bytes = readFileSync(path);
  rmSync(target.folder, { recursive: true });
  return { steps, journal: bytes, result: device.bytes, begun, ending, overlaps };
}

/** Recovers a target and a journal as a crash leaves them: to the base, unless the apply was done. */
async function expectRecovered(
  { contents, journal }: { readonly contents: Buffer; readonly journal: Buffer },
  { result }: Recorded,
  what: string,
): Promise<void> {
  const device = new MemoryDevice(contents, '/dev/t');
  const { folder, record } = openInMemory(device, parent);
  const log = join(folder, 'journal');
  writeFileSync(log, journal);
  writeFileSync(join(folder, 'apply.json'), JSON.stringify({ log, snapback: null }));
  const { kind } = await recoverTarget(folder, device, record);
  rmSync(folder, { recursive: true });
  expect(['taken back', 'holds the result'], what).toContain(kind);
  expect(device.bytes.equals(kind === 'taken back' ? BASE : result), `${kind}, ${what}`).toBe(true);
}

/** Where the power fails, and what of all that was not on stable storage came there all the same. */
interface Crash {
  /** Of the steps, 0 to 1. */
  readonly moment: number;
  /** Of the journal's bytes past its last sync, 0 to 1. */
  readonly tail: number;
  /** For each sector of each write past the last flush, whether it was written; used round and round. */
  readonly landed: readonly boolean[];
}

/** What a crash leaves of an apply, before the step of this number. */
function crashedBefore(
  { steps, journal, begun }: Recorded,
  done: number,
  { tail, landed }: Omit<Crash, 'moment'>,
) {
  const before = steps.slice(0, done);
  const contents = Buffer.from(BASE);
  const flush = before.findLast((step) => step.kind === 'target flushed')?.began ?? -1;
  let sectors = 0;
  for (const step of before) {
    if (step.kind !== 'write') continue;
    for (let at = 0; at < step.bytes.length; at += SECTOR) {
      const isLost = step.ended > flush && landed[sectors++ % landed.length] === false;
      if (!isLost) step.bytes.copy(contents, step.offset + at, at, at + SECTOR);
    }
  }
  const synced = before.findLast((step) => step.kind === 'journal synced')?.length ?? begun;
  const written = steps[done]?.journalLength ?? journal.length;
  const length = synced + Math.floor(tail * (written - synced + 1));
  return { contents, journal: journal.subarray(0, Math.min(length, written)) };
}

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
  batchBytes: fc.constantFrom(4096, 8192, 8 * 1024 * 1024),
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
  batchBytes: 8 * 1024 * 1024,
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

describe('a journal cut by a crash', () => {
  it(
    'takes the target back, wherever its tail is torn',
    async () => {
      // The second batch begins where the offsets go back.
      const blocks = [50, 3].map((sector) => ({ sector, count: 1, byte: 1, thenFlush: false }));
      const recorded = await record(blocks, ONE_BATCH);
      const [first] = recorded.steps;
      const firstBatch = first?.kind === 'journal synced' ? first.length : NaN;
      const afterFirst = Buffer.from(BASE);
      afterFirst.fill(1, 50 * SECTOR, 51 * SECTOR);
      expect(recorded.journal.length).toBeGreaterThan(firstBatch);
      for (let length = recorded.begun; length <= recorded.journal.length; length++) {
        // What is not whole in the journal has not begun to be written.
        const begun = length < firstBatch ? BASE : afterFirst;
        const contents = length < recorded.ending ? begun : recorded.result;
        const journal = recorded.journal.subarray(0, length);
        await expectRecovered({ contents, journal }, recorded, `cut at ${length}`);
      }
    },
    SLOW,
  );

  it(
    'takes it back from every moment of batches that overlap, or is done, whatever was not flushed',
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
        const manner = { ...ONE_BATCH, batchBytes: 8192, checkpointBytes: 8 * SECTOR, turns };
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
    'takes it back from any moment of any apply, or is done, whatever was not flushed',
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
});
