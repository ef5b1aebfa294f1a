import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, vi } from 'vitest';
import { recoverTarget } from '../../../src/apply/recover.js';
import { Applier } from '../../../src/engine/applier.js';
import { DurableLength, lengthPath } from '../../../src/engine/durable-length.js';
import { Journal } from '../../../src/journal/journal.js';
import { applyBlock, dataBlock, patterned, undoFor } from '../blocks.js';
import { MemoryDevice } from '../memory-device.js';
import { openInMemory } from '../open-target.js';
import { pool } from '../streams.js';
import { quietSurroundings } from '../surroundings.js';

export const SECTOR = 512;
export const SIZE = 64 * SECTOR;
export const BASE = patterned(SIZE);
let parent: string;

beforeAll(() => {
  parent = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lvmsync-crash-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

/** What an apply, or a recover, did that a crash can come between. Ticks count what began and ended, in order. */
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
  /** So much of the journal is on stable storage; and then it is noted to be. */
  | { readonly kind: 'journal synced' | 'length noted'; readonly length: number };

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
    contents = BASE,
  ) {
    super(contents, '/dev/t');
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

export interface AnyBlock {
  readonly sector: number;
  readonly count: number;
  readonly byte: number;
  /** Whether the target is flushed, and the journal told, after it. */
  readonly thenFlush: boolean;
}

/** How an apply goes about it. */
export interface Manner {
  /** Of the volume, bytes: blocks that are not whole ones of these are saved with what lies around them. */
  readonly blockSize: number;
  readonly groupBytes: number;
  readonly checkpointBytes: number;
  readonly turns: readonly number[];
}

/** An apply that was recorded: each step with the length that the journal had by then. */
export interface Recorded {
  readonly steps: readonly (Step & { readonly journalLength: number })[];
  readonly journal: Buffer;
  /** What the target holds when all is done. */
  readonly result: Buffer;
  /** Where in the journal its end frame begins, which says that all is done. */
  readonly ending: number;
  /** The journal's length when the note of it was made: so much is on stable storage whatever happens. */
  readonly begun: number;
  /** How often the journal grew while it was flushed: batches that overlapped. */
  readonly overlaps: number;
}

export async function record(blocks: readonly AnyBlock[], manner: Manner): Promise<Recorded> {
  const steps: (Step & { journalLength: number })[] = [];
  let path = '';
  const add = (step: Step) => {
    steps.push(Object.assign(step, { journalLength: statSync(path).size }));
  };
  const { blockSize, groupBytes, checkpointBytes, turns } = manner;
  const delays = new Delays(turns);
  const device = new RecordingDevice(add, delays);
  const target = openInMemory(device, parent);
  const journal = await Journal.begin(target.folder, undoFor(SIZE, blockSize), null);
  const { log } = journal;
  path = log.path;
  const begun = statSync(path).size;
  let overlaps = 0;
  // oxlint-disable-next-line typescript/unbound-method -- called with the one that is spied on
  const set = DurableLength.prototype.set;
  const spy = vi.spyOn(DurableLength.prototype, 'set').mockImplementation(async function (
    this: DurableLength,
    length,
  ) {
    add({ kind: 'journal synced', length });
    await delays.wait();
    await set.call(this, length);
    add({ kind: 'length noted', length });
    if (statSync(path).size > length) overlaps += 1;
  });
  const applier = new Applier(device, { log, lendOld: pool(), groupBytes, checkpointBytes });
  for (const { sector, count, byte, thenFlush } of blocks) {
    const [offset, length] = [sector * SECTOR, Math.min(count, SIZE / SECTOR - sector) * SECTOR];
    if (byte === 0) await applyBlock(applier, { kind: 'zero', offset, length });
    else await applyBlock(applier, dataBlock(offset, length, byte));
    if (!thenFlush) continue;
    await applier.finish();
    await log.markFlushed(log.announced);
  }
  await applier.finish();
  await log.handOver();
  const ending = statSync(path).size;
  await log.end();
  await log.close();
  spy.mockRestore();
  const bytes = readFileSync(path);
  rmSync(target.folder, { recursive: true });
  return { steps, journal: bytes, result: device.bytes, begun, ending, overlaps };
}

/** A target and its journal as a crash leaves them. */
export interface Left {
  readonly contents: Buffer;
  readonly journal: Buffer;
  /** How much of the journal is noted to be on stable storage. */
  readonly noted: number;
  readonly isUndoing?: true;
}

/** A target's folder with what a crash left. */
async function layOut(device: MemoryDevice, { journal, noted, isUndoing }: Left) {
  const target = openInMemory(device, parent);
  const { folder } = target;
  writeFileSync(join(folder, 'journal'), journal);
  writeFileSync(join(folder, 'apply.json'), JSON.stringify({ log: 'journal', snapback: null }));
  if (isUndoing !== true) writeFileSync(join(folder, 'apply.forward'), '');
  await (await DurableLength.create(lengthPath(folder), noted)).close();
  return target;
}

/** Recovers what a crash left: to the base, unless the apply was done. */
export async function expectRecovered(left: Left, { result }: Recorded, what: string): Promise<void> {
  const device = new MemoryDevice(left.contents, '/dev/t');
  const target = await layOut(device, left);
  const { kind } = await recoverTarget(target, quietSurroundings());
  rmSync(target.folder, { recursive: true });
  expect(['taken back', 'holds the result'], what).toContain(kind);
  expect(device.bytes, `${kind}, ${what}`).toBeBytes(kind === 'taken back' ? BASE : result);
}

/** Records a recover that ends; with each step, whether the folder's note said by then that it was under way. */
export async function recordRecover(left: Left, turns: readonly number[]) {
  const steps: (Step & { readonly isUndoing: true | undefined })[] = [];
  let folder = '';
  const add = (step: Step) => {
    const isUndoing = existsSync(join(folder, 'apply.forward')) ? undefined : (true as const);
    steps.push(Object.assign(step, { isUndoing }));
  };
  const device = new RecordingDevice(add, new Delays(turns), left.contents);
  const target = await layOut(device, left);
  folder = target.folder;
  await recoverTarget(target, quietSurroundings());
  rmSync(folder, { recursive: true });
  expect(device.bytes).toBeBytes(BASE);
  return steps;
}

/** Where the power fails, and what of all that was not on stable storage came there all the same. */
export interface Crash {
  /** Of the steps, 0 to 1. */
  readonly moment: number;
  /** Of the journal's bytes past its last sync, 0 to 1. */
  readonly tail: number;
  /** For each sector of each write past the last flush, whether it was written; used round and round. */
  readonly landed: readonly boolean[];
}

/** What a crash leaves of a target that held `from`, after these steps. */
export function contentsAfter(steps: readonly Step[], from: Buffer, landed: readonly boolean[]): Buffer {
  const contents = Buffer.from(from);
  const flush = steps.findLast((step) => step.kind === 'target flushed')?.began ?? -1;
  let sectors = 0;
  for (const step of steps) {
    if (step.kind !== 'write') continue;
    for (let at = 0; at < step.bytes.length; at += SECTOR) {
      const isLost = step.ended > flush && landed[sectors++ % landed.length] === false;
      if (!isLost) step.bytes.copy(contents, step.offset + at, at, at + SECTOR);
    }
  }
  return contents;
}

/** What a crash leaves of an apply, before the step of this number. */
export function crashedBefore(
  { steps, journal, begun }: Recorded,
  done: number,
  { tail, landed }: Omit<Crash, 'moment'>,
): Left {
  const before = steps.slice(0, done);
  const contents = contentsAfter(before, BASE, landed);
  const lengthOf = (kind: Step['kind']) =>
    before.flatMap((step) => ('length' in step && step.kind === kind ? [step.length] : [])).at(-1) ?? begun;
  const synced = lengthOf('journal synced');
  // What is under way may be there already.
  const noted = tail < 0.5 ? lengthOf('length noted') : synced;
  const written = steps[done]?.journalLength ?? journal.length;
  const length = synced + Math.floor(tail * (written - synced + 1));
  return { contents, journal: journal.subarray(0, Math.min(length, written)), noted };
}
