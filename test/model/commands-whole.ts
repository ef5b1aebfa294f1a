import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect } from 'vitest';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { makeStore } from '../support/synthetic-store.js';
import { showFault } from './commands-archive.js';
import { audit, fault, rarely, stateDir, type Step } from './commands-send.js';
import { isDone, type Model, type StateDir } from './model.js';
import type { Fault } from './mortal-files.js';
import { ALL_UNITS, chunkOf, nameOf, SECTOR, SIZE, wholeSource } from './volume.js';
import type { World } from './world.js';

/** A file with a state of the volume. */
const fileOf = (model: Model, world: World, state: number) =>
  world.stateFile(nameOf(state), model.source.state(state));

/** A full copy of a state's file, a copy that compares first, or a scan. */
export class Whole implements Step {
  constructor(
    private readonly how: 'copy' | 'seed' | 'scan' | 'scan kept',
    private readonly which: number,
    private readonly dir: StateDir,
    private readonly fault: Fault | null,
  ) {}

  check = () => true;

  async run(model: Model, world: World): Promise<void> {
    const { how, dir } = this;
    const state = model.source.pick(this.which);
    const from = fileOf(model, world, state);
    const undo = how === 'scan kept' ? world.newPath(world.undos, 'undo') : null;
    const words = {
      copy: ['copy', from, world.target],
      seed: ['copy', '--seed', from, world.target],
      scan: ['--scan', from, world.target],
      'scan kept': ['--scan', from, world.target, '-b', undo ?? ''],
    }[how];
    const before = model.held;
    const isPending = model.isPending(dir);
    world.fault = this.fault;
    const ran = await world.run(dir, words);
    const images = [model.source.state(state)];
    await model.judge(world, dir, ran, {
      units: ALL_UNITS,
      images,
      isCopy: how === 'copy' || how === 'seed',
    });
    if (isDone(ran) && undo !== null && !isPending && !before.equals(model.held))
      model.undos.push({ path: undo, from: model.held, to: before });
  }

  toString = () => `${this.how} ${this.which} in ${this.dir}${showFault(this.fault)}`;
}

/** Compares the target with a state, and makes it that. */
export class Verify implements Step {
  constructor(
    private readonly which: number,
    private readonly repair: boolean,
    private readonly fault: Fault | null,
  ) {}

  check = () => true;

  async run(model: Model, world: World): Promise<void> {
    const state = model.source.state(model.source.pick(this.which));
    const from = fileOf(model, world, model.source.pick(this.which));
    const isEqual = model.held.subarray(0, SIZE).equals(state);
    world.fault = this.repair ? this.fault : null;
    const words = ['verify', ...(this.repair ? ['--repair'] : []), from, world.target];
    const ran = await world.run('usual', words);
    if (this.repair) await model.judge(world, 'usual', ran, { units: ALL_UNITS, images: [state] });
    else {
      expect(world.held(), 'a verify writes nothing').toBeBytes(model.held);
      const isLarge = model.held.length >= SIZE;
      expect(ran.status, ran.said).toBe(isLarge ? (isEqual ? 0 : 11) : 3);
    }
  }

  toString = () => `verify ${this.repair ? 'and repair ' : ''}${this.which}${showFault(this.fault)}`;
}

/** A full copy of a snapshot, or a scan: the target is known by that snapshot's name then. */
export class CopySnapshot implements Step {
  constructor(
    private readonly which: number,
    private readonly isScan: boolean,
    private readonly dir: StateDir,
    private readonly fault: Fault | null,
    private readonly isHasty = false,
  ) {}

  check = () => true;

  async run(model: Model, world: World): Promise<void> {
    const { isScan, dir } = this;
    const state = model.source.pick(this.which);
    // What is compared is what a run that was cut short is taken back to.
    const canCompare = isScan && !model.isPending(dir) && model.held.length >= SIZE;
    const source = wholeSource(model.source, state, canCompare ? model.held : null);
    world.fault = this.fault;
    const how = { proofs: isScan };
    const ran = await world.send(dir, source, DEFAULT_POLICY, how, this.isHasty);
    const images = [model.source.state(state)];
    await model.judge(world, dir, ran, { units: ALL_UNITS, images, isCopy: !canCompare });
  }

  toString = () =>
    `${this.isScan ? 'scan' : 'copy'} of the snapshot ${this.which} in ${this.dir}${showFault(this.fault)}`;
}

/** A classic snapshot's store and its volume, as files. */
export class SendFiles implements Step {
  constructor(
    private readonly from: number,
    private readonly dir: StateDir,
    private readonly snapback: boolean,
    private readonly audit: number | null,
    private readonly fault: Fault | null,
  ) {}

  check = () => true;

  async run(model: Model, world: World): Promise<void> {
    const { source } = model;
    const from = source.pick(this.from);
    const cow = world.newPath(world.folder, 'cow');
    const exceptions = source.tableOf(from).map((oldChunk) => ({ oldChunk }));
    const chunkSectors = chunkOf(from).size / SECTOR;
    writeFileSync(cow, makeStore({ chunkSectors, exceptions, base: source.state(from) }));
    const undo = this.snapback ? world.newPath(world.undos, 'undo') : null;
    const origin = fileOf(model, world, source.latest);
    world.fault = this.fault;
    const kept = undo === null ? [] : ['-b', undo];
    const audited = this.audit === null ? [] : ['--audit', `${this.audit}`];
    const before = model.held;
    const isPending = model.isPending(this.dir);
    const words = ['--cow', cow, '--origin', origin, world.target, ...kept, ...audited];
    const ran = await world.run(this.dir, words);
    const images = [source.state(source.latest)];
    const units = source.changedUnits(from);
    await model.judge(world, this.dir, ran, { units, images, audit: this.audit });
    if (isDone(ran) && undo !== null && !isPending)
      model.undos.push({ path: undo, from: model.held, to: before });
  }

  toString = () =>
    `send files from ${this.from} in ${this.dir}${this.snapback ? ' kept' : ''}` +
    `${this.audit === null ? '' : ` audit=${this.audit}`}${showFault(this.fault)}`;
}

const small = fc.nat(5);

export const wholeSteps = {
  whole: fc
    .tuple(
      fc.constantFrom('copy' as const, 'seed' as const, 'scan' as const, 'scan kept' as const),
      small,
      stateDir,
      fault,
    )
    .map((wish) => new Whole(...wish)),
  snapshot: fc
    .tuple(small, fc.boolean(), stateDir, fault, fc.boolean())
    .map((wish) => new CopySnapshot(...wish)),
  verify: fc
    .tuple(
      small,
      rarely.map((isOff) => !isOff),
      fault,
    )
    .map((wish) => new Verify(...wish)),
  files: fc.tuple(small, stateDir, fc.boolean(), audit, fault).map((wish) => new SendFiles(...wish)),
};
