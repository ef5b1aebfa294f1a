import { expect } from 'vitest';
import type { KnownState } from '../../src/targets/state-record.js';
import type { Fault } from './mortal-files.js';
import { ALL_UNITS, nameOf, SECTOR, SourceVolume, stoppedName, UNIT, UNITS, type Units } from './volume.js';

/** The state directories of two users, and that of whoever names none. */
export const STATE_DIRS = ['one', 'two', 'usual'] as const;
export type StateDir = (typeof STATE_DIRS)[number];

/** What a run left to be seen. */
export interface Ran {
  /** Null of one that was killed. */
  readonly status: number | null;
  readonly said: string;
  readonly stdout: Buffer;
  /** Whether a fault happened to it. */
  readonly isFaulty: boolean;
}

/** What is looked at of a target: its bytes, and what state directories have of it. */
export interface TargetView {
  held(): Buffer | Promise<Buffer>;
  hasJournal(dir: StateDir): Promise<boolean>;
  record(dir: StateDir): Promise<KnownState>;
}

/** What a run is to bring to a target. */
export interface Intent {
  /** Where it writes, and nowhere else. */
  readonly units: Units;
  /** What may be there then: one image, or where someone wrote to the source meanwhile, of each unit one of them. */
  readonly images: readonly Buffer[];
  /** Whether there may also be what was there before: nobody can say beforehand which of these units it writes. */
  readonly mayKeep?: boolean;
  /** Whether it overwrites all of the target, whatever that holds, without a way back. */
  readonly isCopy?: boolean;
  /** Whether the user wanted no way back. */
  readonly isBold?: boolean;
  /** Whether the user said that he knows better. */
  readonly isForced?: boolean;
  /** Whether it may find halfway only that the target is not what it should be. */
  readonly mayStop?: boolean;
}

/** What stays unprovable: docs/guarantees.md. */
const MIXED = 'exception: who wrote what a killed run would have written';

export const NOTHING: Intent = { units: ALL_UNITS.map(() => false), images: [] };

/** What a target may come to hold, as a whole: an image, in some units of which there may be another one's. */
interface Outcome {
  readonly image: Buffer;
  readonly over: Intent;
}

/** Where programs run: a target, state directories and undos, and a fault that the next run meets. */
export interface Place extends TargetView {
  readonly target: string;
  /** The folder of the undos. */
  readonly undos: string;
  fault: Fault | null;
  /** A file's path that nothing has yet. */
  newPath(folder: string, kind: string): string;
  /** Whole undos. */
  archives(): string[];
  run(dir: StateDir, words: readonly string[], input?: Uint8Array): Promise<Ran>;
}

/** A run that did not end, and left a journal in a state directory. */
interface Pending {
  /** What it may be taken back to, or turn out to hold. */
  readonly outcomes: readonly Outcome[];
  /** The file that it wrote to. */
  readonly file: number;
  /** Whether it ended by itself, and could note how it left the target. */
  readonly isOrderly: boolean;
  /** Whether anybody else wrote to that file since. */
  isDisturbed: boolean;
}

/** A file with undos in it: what the target held when it was made, and before. */
export interface KnownUndo {
  readonly path: string;
  readonly from: Buffer;
  readonly to: Buffer;
}

/** A file as the world has it: one that may have the target's name, or not. */
interface ModelFile {
  readonly id: number;
  held: Buffer;
}

/** What is true, and what may be, by nothing but what was done. */
export class Model {
  /** What each state's name stands for. */
  readonly names = new Map<string, Buffer>();
  readonly undos: KnownUndo[] = [];
  /** Streams in files, which lead from a state to another. */
  readonly streams: { readonly path: string; readonly to: number; readonly units: Units }[] = [];
  readonly tally: Record<string, number>;
  private readonly pending = new Map<StateDir, Pending>();
  private file: ModelFile;
  private spare: ModelFile;
  private files = 2;

  constructor(
    readonly source: SourceVolume,
    tally: Record<string, number>,
  ) {
    this.tally = tally;
    const held = source.state(0);
    [this.file, this.spare] = [
      { id: 0, held },
      { id: 1, held },
    ];
    this.nameStates();
  }

  get held(): Buffer {
    return this.file.held;
  }

  count(what: string): void {
    this.tally[what] = (this.tally[what] ?? 0) + 1;
  }

  /** Each new state of the source has its names. */
  nameStates(): void {
    for (const [index, state] of this.source.states.entries())
      for (const name of [nameOf(index), stoppedName(index)]) this.names.set(name, state);
  }

  /** Someone else wrote to the target. */
  disturbed(held: Buffer): void {
    this.file.held = held;
    this.disturbAll(null);
  }

  replaced(held: Buffer): void {
    this.file = { id: this.files++, held };
  }

  swapped(): void {
    [this.file, this.spare] = [this.spare, this.file];
    this.disturbAll(null);
  }

  /** A state directory's folder is gone. */
  forgotten(dir: StateDir): void {
    this.pending.delete(dir);
  }

  /** Holds a run that was to bring this against what it left, and takes what is true from then on from the world. */
  async judge(world: TargetView, dir: StateDir, ran: Ran, intent: Intent): Promise<void> {
    const before = this.held;
    const after = await world.held();
    const hasJournal = await world.hasJournal(dir);
    const about = `${dir}, exit ${ran.status ?? 'killed'}: ${ran.said}`;
    const pending = this.pendingOf(dir);
    const starts = pending?.outcomes ?? [{ image: before, over: NOTHING }];
    this.count(ran.status === null ? 'killed' : ran.status === 0 ? 'done' : `exit ${ran.status}`);
    // Of a target that others wrote to, what was sent is there all the same.
    const isDone = ran.status === 0 || ran.said.includes('all that was sent is written and right');
    if (isDone) {
      this.judgeSuccess(before, after, starts, pending, intent, about);
      expect(hasJournal, `nothing is pending: ${about}`).toBe(false);
      this.pending.delete(dir);
    } else {
      this.judgeFailure(before, after, starts, ran, intent, { hasJournal, pending, about });
      const ends = starts.flatMap((start) => [start, landed(start, intent)]);
      if (hasJournal && (pending === null || !after.equals(before) || ran.status === null)) {
        const isOrderly = ran.status !== null && !ran.said.includes('ENOSPC') && !isSame(after, before);
        const isDisturbed = pending?.isDisturbed ?? false;
        this.pending.set(dir, { outcomes: ends, file: this.file.id, isOrderly, isDisturbed });
      }
      if (!hasJournal) this.pending.delete(dir);
    }
    this.file.held = after;
    if (!isSame(before, after)) this.disturbAll(dir);
    await this.checkRecords(world, about);
  }

  private judgeSuccess(
    before: Buffer,
    after: Buffer,
    starts: readonly Outcome[],
    pending: Pending | null,
    intent: Intent,
    about: string,
  ): void {
    if (pending !== null && !(intent.isCopy ?? false) && !(intent.isForced ?? false)) {
      expect(pending.file, `a journal of another file is no way back: ${about}`).toBe(this.file.id);
      expect(pending.isDisturbed && pending.isOrderly, `someone wrote since: ${about}`).toBe(false);
    }
    if (pending?.isDisturbed === true && intent.mayKeep === true) {
      this.count(MIXED);
      expectSectors(after, [before, ...starts.flatMap(imagesOf), ...intent.images], about);
      return;
    }
    if (pending?.isDisturbed === true) {
      // Where each block is old or new, nobody can know who wrote it.
      this.count(MIXED);
      const images = [before, ...starts.flatMap(imagesOf)];
      const isRight = (unit: number) => (intent.units[unit] === true ? intent.images : images);
      expectUnits(after, isRight, about);
      return;
    }
    const ends = starts.map((start) => landed(start, intent));
    if (ends.some((end) => fits(after, end))) return;
    const [first = { image: before, over: NOTHING }] = ends;
    expectUnits(after, (unit) => choices(first, unit), `exit 0, and something else: ${about}`);
    expect.unreachable(about);
  }

  private judgeFailure(
    before: Buffer,
    after: Buffer,
    starts: readonly Outcome[],
    ran: Ran,
    intent: Intent,
    { hasJournal, pending, about }: { hasJournal: boolean; pending: Pending | null; about: string },
  ): void {
    if (/(^|; )nothing was written(?! to it$)/m.test(ran.said) && ran.status !== null)
      expect(isSame(after, before), `nothing was written: ${about}`).toBe(true);
    if (isSame(after, before)) return;
    if (starts.some((start) => fits(after, start))) return;
    // An earlier apply is taken back first, also by a copy that is then refused; a kill may come just after that.
    const isRefusedCopy = ran.status !== null && !ran.isFaulty;
    const isOver = !hasJournal && (intent.isCopy !== true || isRefusedCopy);
    if (pending?.isDisturbed === true && !pending.isOrderly && isOver) {
      // Taken back, and no more: what was taken back is of two runs.
      this.count(MIXED);
      const images = [before, ...starts.flatMap(imagesOf)];
      expectUnits(after, () => images, about);
      return;
    }
    const isRefusal = ran.status !== null && !ran.isFaulty && intent.mayStop !== true;
    expect(isRefusal, `a refusal changes nothing: ${about}`).toBe(false);
    // Only the report that all of it is there was lost.
    if (starts.some((start) => fits(after, landed(start, intent)))) return;
    const isTold = /half-(written|copied)/.test(ran.said);
    if (ran.status !== null) expect(isTold, `what is left is said: ${about}`).toBe(true);
    expect(
      hasJournal || intent.isCopy === true || intent.isBold === true,
      `there is a way back: ${about}`,
    ).toBe(true);
    const images = [before, ...starts.flatMap(imagesOf), ...intent.images];
    expectSectors(after, images, about);
  }

  /** A record that vouches for a state is right, in every state directory at any time. */
  async checkRecords(world: TargetView, about: string): Promise<void> {
    const held = await world.held();
    for (const dir of STATE_DIRS) this.checkRecord(await world.record(dir), held, `${dir} after ${about}`);
  }

  private checkRecord({ holds }: KnownState, held: Buffer, about: string): void {
    if (holds === null || holds.believed !== undefined) return;
    const { is, identity } = holds;
    if (is === 'exactly') {
      const named = this.names.get(identity);
      // A copy or a scan gives a name of its own to what it brought, once and for all.
      if (named === undefined) this.names.set(identity, held);
      else expectUnits(held, () => [named], `recorded as exactly ${identity}: ${about}`);
    }
    if (is === 'since') {
      const named = this.names.get(identity);
      const first = this.source.states.findIndex((state) => state === named);
      expectUnits(held, () => this.source.states.slice(first), `recorded as since ${identity}: ${about}`);
    }
  }

  private pendingOf(dir: StateDir): Pending | null {
    return this.pending.get(dir) ?? null;
  }

  /** Whether a run that did not end waits to be seen to. */
  isPending(dir: StateDir): boolean {
    return this.pending.has(dir);
  }

  private disturbAll(but: StateDir | null): void {
    for (const [dir, pending] of this.pending) if (dir !== but) pending.isDisturbed = true;
  }
}

const isSame = (one: Buffer, other: Buffer) => one.equals(other);

const unitOf = (image: Buffer, unit: number) => image.subarray(unit * UNIT, (unit + 1) * UNIT);

/** What comes of a run that meets an outcome of an earlier one. */
function landed({ image, over }: Outcome, intent: Intent): Outcome {
  const [first] = intent.images;
  if (first === undefined) return { image, over };
  const kept = Buffer.from(image);
  const [under] = over.images;
  for (let unit = 0; unit < UNITS; unit++)
    if (under !== undefined && over.units[unit] === true) unitOf(under, unit).copy(kept, unit * UNIT);
  const flat = Buffer.from(kept);
  for (let unit = 0; unit < UNITS; unit++) {
    if (intent.units[unit] === true) unitOf(first, unit).copy(flat, unit * UNIT);
  }
  const images = intent.mayKeep === true ? [...intent.images, kept, ...over.images] : intent.images;
  return { image: flat, over: images.length > 1 ? { ...intent, images } : NOTHING };
}

function choices({ image, over }: Outcome, unit: number): readonly Buffer[] {
  return over.units[unit] === true ? over.images : [image];
}

const imagesOf = ({ image, over }: Outcome) => [image, ...over.images];

function fits(bytes: Buffer, outcome: Outcome): boolean {
  if (bytes.length !== outcome.image.length && outcome.over === NOTHING) return false;
  // Of units that it may leave as they were, it may also write no more than sectors.
  if (outcome.over.mayKeep === true) return isMadeOf(bytes, imagesOf(outcome));
  for (let unit = 0; unit < UNITS; unit++) {
    const held = unitOf(bytes, unit);
    if (!choices(outcome, unit).some((image) => unitOf(image, unit).equals(held))) return false;
  }
  return bytes.subarray(UNITS * UNIT).equals(outcome.image.subarray(UNITS * UNIT));
}

/** Each unit is one of those that it may be. */
function expectUnits(bytes: Buffer, mayBe: (unit: number) => readonly Buffer[], about: string): void {
  const wrong: string[] = [];
  for (let unit = 0; unit < UNITS; unit++) {
    const held = unitOf(bytes, unit);
    if (mayBe(unit).some((image) => unitOf(image, unit).equals(held))) continue;
    const should = mayBe(unit).map((image) => describeUnit(unitOf(image, unit)));
    wrong.push(`${unit}: ${describeUnit(held)} instead of ${should.join(' or ')}`);
  }
  expect(wrong, about).toEqual([]);
}

/** Whether each sector comes from one of these. */
function isMadeOf(bytes: Buffer, images: readonly Buffer[]): boolean {
  for (let at = 0; at < bytes.length; at += SECTOR) {
    const held = bytes.subarray(at, at + SECTOR);
    if (!images.some((image) => image.subarray(at, at + SECTOR).equals(held))) return false;
  }
  return true;
}

/** Each sector comes from one of these. */
function expectSectors(bytes: Buffer, images: readonly Buffer[], about: string): void {
  for (let at = 0; at < bytes.length; at += SECTOR) {
    const held = bytes.subarray(at, at + SECTOR);
    const isKnown = images.some((image) => image.subarray(at, at + SECTOR).equals(held));
    if (!isKnown) expect.fail(`byte ${at} holds what nobody wrote there: ${describeUnit(held)}; ${about}`);
  }
}

/** Its first sectors' fills. */
function describeUnit(bytes: Buffer): string {
  const shown: string[] = [];
  for (let at = 0; at < bytes.length; at += SECTOR)
    shown.push(/^\d+/.exec(bytes.toString('latin1', at, at + 4))?.[0] ?? '0');
  return [...new Set(shown)].join('/');
}
