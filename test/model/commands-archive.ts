import { readFileSync, rmSync, statSync } from 'node:fs';
import fc from 'fast-check';
import { expect } from 'vitest';
import { openArchive } from '../../src/archive/archive.js';
import { planCombination } from '../../src/chain/combination.js';
import type { KnownState } from '../../src/targets/state-record.js';
import { landOn } from '../support/scenes/archives.js';
import { fault, rarely, stateDir, type Step } from './commands-send.js';
import type { KnownUndo, Model, Place, StateDir } from './model.js';
import type { Fault } from './mortal-files.js';
import { NOTHING, type Intent } from './outcome.js';
import { ALL_UNITS, nameOf, SIZE } from './volume.js';

/** A run of an undo that leads from one image to another: all that differs is in it, and perhaps more. */
function intentOfUndo({ from, to }: KnownUndo, held: Buffer): Intent {
  // On anything but its base nobody can say beforehand which of its blocks the undo has.
  return { units: ALL_UNITS, images: [to], mayKeep: !from.equals(held) };
}

/** Any archive with names leads from the one state to the other. */
export async function checkArchives(model: Model, world: Place): Promise<void> {
  for (const path of world.archives()) {
    const archive = await openArchive(path);
    const { base, result } = archive.header ?? { base: null, result: null };
    const [from, to] = [model.names.get(base ?? ''), model.names.get(result ?? '')];
    if (from === undefined || to === undefined) continue;
    const volume = Buffer.from(from);
    await landOn(volume, planCombination([archive], { forceBase: false }));
    expect(volume, `${path} leads from ${base} to ${result}`).toBeBytes(to);
    model.count('archives checked');
  }
}

/** Applies an undo that was kept: the latest, or any. */
export class ApplyUndo implements Step {
  constructor(
    private readonly which: number,
    private readonly dir: StateDir,
    private readonly isForced: boolean,
    private readonly snapback: boolean,
    private readonly fault: Fault | null,
    private readonly isPiped = false,
  ) {}

  check = (model: Model) => model.undos.length > 0;

  async run(model: Model, world: Place): Promise<void> {
    const undo = model.undos[model.undos.length - 1 - (this.which % model.undos.length)];
    if (undo === undefined) return;
    world.fault = this.fault;
    const redo = this.snapback ? world.newPath(world.undos, 'undo') : null;
    const before = model.held;
    const isPending = model.isPending(this.dir);
    const known = await world.record(this.dir);
    const words = [
      ...['--apply', this.isPiped ? '-' : undo.path, world.target],
      ...(this.isForced ? ['--force', 'base'] : []),
      ...(redo === null ? [] : ['-b', redo]),
    ];
    const ran = await world.run(this.dir, words, this.isPiped ? readFileSync(undo.path) : undefined);
    const intent = isPending ? { units: ALL_UNITS, images: [undo.to, before] } : intentOfUndo(undo, before);
    const isRight = undo.from.equals(before);
    await model.judge(world, this.dir, ran, {
      ...intent,
      ...{ isForced: this.isForced, mayStop: !isRight, mayKeep: isPending || !isRight },
    });
    if (ran.status !== 0) return;
    if (redo !== null && !isPending) model.undos.push({ path: redo, from: model.held, to: before });
    // An undo applies to its base alone, or to what it leads to; else it must be wished for.
    const isThere = undo.to.equals(before);
    if (isRight || isThere || this.isForced || isPending) return;
    // What someone wrote to the target that it was made of is not in it: by its names it leads from state to state.
    const { base, result } = await openArchive(undo.path);
    const [from, to] = [model.names.get(base ?? ''), model.names.get(result ?? '')];
    const leads =
      from?.equals(before.subarray(0, SIZE)) === true && to?.equals(model.held.subarray(0, SIZE)) === true;
    if (leads) model.count('undone by its names');
    else this.expectUnsure(known, model);
  }

  /** Where the target was known to hold something else, the undo was refused. */
  private expectUnsure({ holds }: KnownState, model: Model): void {
    const isSure = holds?.is === 'exactly' && holds.believed === undefined;
    expect(isSure, 'an undo of another state').toBe(false);
    model.count('exception: an undo that was proved on what it overwrites');
  }

  toString = () =>
    `undo ${this.which} in ${this.dir}${this.isPiped ? ' from a pipe' : ''}${this.isForced ? ' forced' : ''}${this.snapback ? ' kept' : ''}${showFault(this.fault)}`;
}

/** Combines the latest undo with the one before it. */
export class Combine implements Step {
  constructor(private readonly fault: Fault | null) {}

  check = (model: Model) => model.undos.length > 1;

  async run(model: Model, world: Place): Promise<void> {
    const [earlier, later] = model.undos.slice(-2);
    if (earlier === undefined || later === undefined) return;
    const path = world.newPath(world.undos, 'undo');
    world.fault = this.fault;
    const ran = await world.run('usual', ['combine', '-o', path, later.path, earlier.path]);
    if (ran.status !== 0) return;
    await checkArchives(model, world);
    if (later.to.equals(earlier.from)) model.undos.push({ path, from: later.from, to: earlier.to });
    else rmSync(path);
  }

  toString = () => `combine${showFault(this.fault)}`;
}

/** The names of the states to which archives lead. */
async function resultsOf(world: Place): Promise<string[]> {
  const archives = await Promise.all(world.archives().map((path) => openArchive(path)));
  return archives.flatMap(({ header }) => header?.result ?? []);
}

/** Goes back to a state by the folder of undos. */
export class Restore implements Step {
  constructor(
    private readonly to: number,
    private readonly dir: StateDir,
    private readonly fault: Fault | null,
  ) {}

  check = (model: Model) => model.undos.length > 0;

  async run(model: Model, world: Place): Promise<void> {
    const goals = await resultsOf(world);
    const name = goals[this.to % goals.length] ?? nameOf(0);
    const goal = model.names.get(name);
    if (goal === undefined) return;
    world.fault = this.fault;
    const words = ['restore', world.target, '--to', name, '--from', world.undos];
    const known = await world.record(this.dir);
    const isPending = model.isPending(this.dir);
    const ran = await world.run(this.dir, words);
    const isSure = known.holds?.is === 'exactly' && known.holds.believed === undefined && !isPending;
    await model.judge(world, this.dir, ran, {
      ...{ units: ALL_UNITS, images: [goal], mayStop: !isSure, mayKeep: !isSure },
    });
    if (ran.status === 0) model.count('restored');
  }

  toString = () => `restore to ${this.to} in ${this.dir}${showFault(this.fault)}`;
}

/** Drops states from the folder of undos. */
export class Prune implements Step {
  constructor(
    private readonly keep: number,
    private readonly fault: Fault | null,
  ) {}

  check = (model: Model) => model.undos.length > 1;

  async run(model: Model, world: Place): Promise<void> {
    world.fault = this.fault;
    const before = model.held;
    const inodes = new Map(world.archives().map((path) => [path, statSync(path).ino]));
    const ran = await world.run('usual', ['archive', 'prune', '--keep-last', `${this.keep}`, world.undos]);
    expect(await world.held(), 'a prune writes no target').toBeBytes(before);
    await checkArchives(model, world);
    const isLeft = ({ path }: KnownUndo) =>
      statSync(path, { throwIfNoEntry: false })?.ino === inodes.get(path);
    const kept = model.undos.filter(isLeft);
    if (ran.status === 0 && kept.length < model.undos.length) model.count('pruned');
    model.undos.splice(0, Infinity, ...kept);
  }

  toString = () => `prune to ${this.keep}${showFault(this.fault)}`;
}

/** Takes the target back. */
export class Recover implements Step {
  constructor(
    private readonly dir: StateDir,
    private readonly isForced: boolean,
    private readonly fault: Fault | null,
  ) {}

  check = () => true;

  async run(model: Model, world: Place): Promise<void> {
    world.fault = this.fault;
    const forced = this.isForced ? ['--force', 'base'] : [];
    const ran = await world.run(this.dir, ['recover', world.target, ...forced]);
    await model.judge(world, this.dir, ran, { ...NOTHING, isForced: this.isForced });
  }

  toString = () => `recover in ${this.dir}${this.isForced ? ' forced' : ''}${showFault(this.fault)}`;
}

export const showFault = (met: Fault | null) => (met === null ? '' : ` ${met.kind} at ${met.step}`);

const small = fc.nat(5);

export const archiveSteps = {
  undo: fc
    .tuple(fc.oneof(fc.constant(0), small), stateDir, rarely, fc.boolean(), fault, rarely)
    .map((wish) => new ApplyUndo(...wish)),
  combine: fault.map((met) => new Combine(met)),
  restore: fc.tuple(small, stateDir, fault).map((wish) => new Restore(...wish)),
  prune: fc.tuple(fc.integer({ min: 1, max: 3 }), fault).map((wish) => new Prune(...wish)),
  recover: fc.tuple(stateDir, rarely, fault).map((wish) => new Recover(...wish)),
};
