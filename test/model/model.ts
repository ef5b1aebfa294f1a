import { expect } from 'vitest';
import type { KnownState, TargetState } from '../../src/targets/state-record.js';
import type { Fault } from './mortal-files.js';
import {
  choices,
  expectSectors,
  expectUnits,
  fits,
  imagesOf,
  isSame,
  landings,
  NOTHING,
  type Intent,
  type Outcome,
} from './outcome.js';
import { nameOf, type SourceVolume, stoppedName, UNIT, type Units } from './volume.js';

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
  /** Whether no file could grow any more: then it could not note either how it left the target. */
  readonly isFull?: boolean;
}

/** Whether a run did what it was to do: also of a target in doubt, what was sent is there. */
export function isDone({ status, said }: Ran): boolean {
  return status === 0 || said.includes('everything that was sent is correct on the target');
}

/** What is looked at of a target: its bytes, and what state directories have of it. */
export interface TargetView {
  held(): Buffer | Promise<Buffer>;
  hasJournal(dir: StateDir): Promise<boolean>;
  record(dir: StateDir): Promise<KnownState>;
}

/** What stays unprovable: docs/guarantees.md. */
const MIXED = 'exception: who wrote what a killed run would have written';

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
  /** Whether anybody else wrote to that file since it began, or since a run that it goes on with did. */
  isDisturbed: boolean;
  /** Whether somebody did since it ended. */
  isDisturbedLate: boolean;
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
    this.disturbAll(null);
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
    const env = `${dir}, exit ${ran.status ?? 'killed'}: ${ran.said}`;
    const pending = this.pendingOf(dir);
    const starts = pending?.outcomes ?? [{ image: before, over: NOTHING }];
    this.count(ran.status === null ? 'killed' : ran.status === 0 ? 'done' : `exit ${ran.status}`);
    if (isDone(ran)) {
      this.judgeSuccess(before, after, starts, pending, intent, env);
      expect(hasJournal, `nothing is pending: ${env}`).toBe(false);
      this.pending.delete(dir);
    } else {
      this.judgeFailure(before, after, starts, ran, intent, { hasJournal, pending, env });
      const ends = [...starts, ...landings(starts, intent)];
      // What begins to take it back notes no more how the run before left it.
      const isBegun = ran.said.includes('to finish taking it back');
      if (hasJournal && (pending === null || !after.equals(before) || ran.status === null || isBegun)) {
        const isOrderly = ran.status !== null && ran.isFull !== true && !isSame(after, before);
        const isDisturbed = pending?.isDisturbed ?? false;
        this.pending.set(dir, {
          ...{ outcomes: ends, file: this.file.id, isOrderly, isDisturbed },
          isDisturbedLate: false,
        });
      }
      if (!hasJournal) this.pending.delete(dir);
    }
    this.file.held = after;
    if (!isSame(before, after)) this.disturbAll(dir);
    await this.checkRecords(world, env);
  }

  private judgeSuccess(
    before: Buffer,
    after: Buffer,
    starts: readonly Outcome[],
    pending: Pending | null,
    intent: Intent,
    env: string,
  ): void {
    if (pending !== null && !(intent.isCopy ?? false) && !(intent.isForced ?? false)) {
      expect(pending.file, `a journal of another file is no way back: ${env}`).toBe(this.file.id);
      expect(pending.isDisturbedLate && pending.isOrderly, `someone wrote since: ${env}`).toBe(false);
    }
    if (pending?.isDisturbed === true && intent.mayKeep === true) {
      this.count(MIXED);
      expectSectors(after, [before, ...starts.flatMap(imagesOf), ...intent.images], env);
      return;
    }
    if (pending?.isDisturbed === true) {
      // Where each block is old or new, nobody can know who wrote it.
      this.count(MIXED);
      const images = [before, ...starts.flatMap(imagesOf)];
      const mended = (intent.audit ?? null) === null ? [] : intent.images;
      const isRight = (unit: number) =>
        intent.units[unit] === true ? intent.images : [...images, ...mended];
      expectUnits(after, isRight, env);
      return;
    }
    const ends = landings(starts, intent);
    if (ends.some((end) => fits(after, end))) return;
    const [first = { image: before, over: NOTHING }] = ends;
    expectUnits(after, (unit) => choices(first, unit), `exit 0, and something else: ${env}`);
    expect.unreachable(env);
  }

  private judgeFailure(
    before: Buffer,
    after: Buffer,
    starts: readonly Outcome[],
    ran: Ran,
    intent: Intent,
    { hasJournal, pending, env }: { hasJournal: boolean; pending: Pending | null; env: string },
  ): void {
    if (/(^|; )nothing was written(?! to it$)/m.test(ran.said) && ran.status !== null)
      expect(after, `nothing was written: ${env}`).toBeBytes(before);
    if (isSame(after, before)) return;
    if (starts.some((start) => fits(after, start))) return;
    // An earlier apply is taken back first, also by a copy that is then refused, or stopped before its first write; a
    // kill may come just after that.
    const isStopped = /: nothing was written to it$/m.test(ran.said);
    const isRefusedCopy = ran.status !== null && (!ran.isFaulty || isStopped);
    const isOver = !hasJournal && (intent.isCopy !== true || isRefusedCopy);
    const isMixed =
      pending?.isDisturbed === true &&
      (!(pending.isDisturbedLate && pending.isOrderly) || intent.isForced === true) &&
      isOver;
    if (isMixed) {
      // Taken back, and no more, or all that followed was done as well: what was taken back is of two runs.
      this.count(MIXED);
      const images = [before, ...starts.flatMap(imagesOf)];
      const mayBe = (unit: number) => (intent.units[unit] === true ? [...images, ...intent.images] : images);
      expectUnits(after, mayBe, env);
      return;
    }
    const isRefusal = ran.status !== null && !ran.isFaulty && intent.mayStop !== true;
    expect(isRefusal, `a refusal changes nothing: ${env}`).toBe(false);
    // Only the report that all of it is there was lost. A copy may meet anything: also what others changed since.
    const met = intent.isCopy === true ? [...starts, { image: before, over: NOTHING }] : starts;
    if (landings(met, intent).some((end) => fits(after, end))) return;
    const isTold = /half-(written|copied)/.test(ran.said);
    if (ran.status !== null) expect(isTold, `what is left is said: ${env}`).toBe(true);
    expect(
      hasJournal || intent.isCopy === true || intent.isBold === true,
      `there is a way back: ${env}`,
    ).toBe(true);
    const images = [before, ...starts.flatMap(imagesOf), ...intent.images];
    expectSectors(after, images, env);
  }

  /** A record that vouches for a state is right, in every state directory at any time. */
  async checkRecords(world: TargetView, env: string): Promise<void> {
    const held = await world.held();
    for (const dir of STATE_DIRS) this.checkRecord(await world.record(dir), held, `${dir} after ${env}`);
  }

  private checkRecord({ holds }: KnownState, held: Buffer, env: string): void {
    if (holds === null) return;
    this.checkProved(holds, held, env);
    if (holds.believed !== undefined) return;
    const { is, identity } = holds;
    if (is === 'exactly') {
      const named = this.names.get(identity);
      // A copy or a scan gives a name of its own to what it brought, once and for all.
      if (named === undefined) this.names.set(identity, held);
      else expectUnits(held, () => [named], `recorded as exactly ${identity}: ${env}`);
    }
    if (is === 'since') {
      const named = this.names.get(identity);
      const first = this.source.states.findIndex((state) => state === named);
      expectUnits(held, () => this.source.states.slice(first), `recorded as since ${identity}: ${env}`);
    }
  }

  /** What was proved of a state that has a name is there, also where the rest is no more than believed. */
  private checkProved({ is, identity, proved }: TargetState, held: Buffer, env: string): void {
    const named = this.names.get(identity);
    if (is !== 'exactly' || named === undefined || proved === undefined) return;
    const { all, covered, position, size } = proved;
    const length = all === null ? covered : size;
    const isProved = (unit: number) => (unit * UNIT - position + covered + 2 * size) % size < length;
    expectUnits(held, (unit) => [isProved(unit) ? named : held], `proved of ${identity}: ${env}`);
    if (covered > 0) this.count('proved in part');
  }

  private pendingOf(dir: StateDir): Pending | null {
    return this.pending.get(dir) ?? null;
  }

  /** Whether a run that did not end waits to be seen to. */
  isPending(dir: StateDir): boolean {
    return this.pending.has(dir);
  }

  private disturbAll(but: StateDir | null): void {
    for (const [dir, pending] of this.pending)
      if (dir !== but) pending.isDisturbed = pending.isDisturbedLate = true;
  }
}
