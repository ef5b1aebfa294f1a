import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect } from 'vitest';
import { BaseView } from '../../src/changes/base-view.js';
import { openLocalDevice } from '../../src/device/local-device.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { MemoryDevice } from '../support/memory-device.js';
import { makeStore } from '../support/synthetic-store.js';
import { showFault } from './commands-archive.js';
import { fault, rarely, stateDir, type Step } from './commands-send.js';
import type { KnownUndo, Model, StateDir } from './model.js';
import type { Fault } from './mortal-files.js';
import { expectSectors } from './outcome.js';
import { chunkOf, nameOf, SECTOR } from './volume.js';
import type { World } from './world.js';

const spawner = new ProcessSpawner(process.env);

/** What a store shows over a volume that holds this; null where it is no store. */
async function shownOver(store: string, held: Buffer): Promise<Buffer | null> {
  const cow = await openLocalDevice(store, { spawner });
  try {
    const bytes = Buffer.alloc(held.length);
    await new BaseView(cow, new MemoryDevice(held, '/dev/held')).readAt(bytes, 0);
    return bytes;
  } catch {
    return null;
  } finally {
    await cow.close();
  }
}

/** Puts the target's past into a store, from one undo or from two that follow each other, with the target or without. */
export class ViewStore implements Step {
  constructor(
    private readonly which: number,
    private readonly dir: StateDir,
    private readonly hasTarget: boolean,
    private readonly isForced: boolean,
    private readonly fault: Fault | null,
  ) {}

  check = (model: Model) => model.undos.length > 0;

  async run(model: Model, world: World): Promise<void> {
    const chosen = this.choose(model);
    const [first] = chosen;
    const to = chosen.at(-1)?.to;
    if (first === undefined || to === undefined) return;
    const out = world.newPath(world.folder, 'store');
    const before = model.held;
    const { holds } = await world.record(this.dir);
    world.fault = this.fault;
    const ran = await world.run(this.dir, [
      ...['view', 'store', out, ...chosen.map(({ path }) => path)],
      ...(this.hasTarget ? ['--target', world.target] : []),
      ...(this.isForced ? ['--force', 'base'] : []),
    ]);
    expect(world.held(), `a store writes no target: ${ran.said}`).toBeBytes(before);
    await model.checkRecords(world, 'view store');
    const isWhole = existsSync(out) && statSync(out).size > 0;
    const over = this.hasTarget ? before : first.from;
    const shown = isWhole ? await shownOver(out, over) : null;
    if (ran.status === 0) expect(shown, `there is a store: ${ran.said}`).not.toBeNull();
    else if (ran.status !== null) expect(existsSync(out), `and no half of one: ${ran.said}`).toBe(false);
    rmSync(out, { force: true });
    if (shown === null) return;
    model.count('stores');
    const isSure = holds?.is === 'exactly' && holds.believed === undefined;
    const isAtStart = first.from.equals(over) || (isSure && !this.isForced);
    if (isAtStart) expect(shown, `it shows what was: ${ran.said}`).toBeBytes(to);
    // What was proved is what it replaces, or the user's word stands for it.
    else expectSectors(shown, [to, over], ran.said);
  }

  private choose({ undos }: Model): readonly KnownUndo[] {
    const later = undos[undos.length - 1 - (this.which % undos.length)];
    if (later === undefined) return [];
    const earlier = undos[undos.indexOf(later) - 1];
    return earlier !== undefined && later.to.equals(earlier.from) ? [later, earlier] : [later];
  }

  toString = () =>
    `view store ${this.which} in ${this.dir}${this.hasTarget ? ' with the target' : ''}` +
    `${this.isForced ? ' forced' : ''}${showFault(this.fault)}`;
}

/** Makes an undo at the source, from a snapshot's own store, with no look at a target. */
export class MakeSnapback implements Step {
  constructor(
    private readonly from: number,
    private readonly fault: Fault | null,
  ) {}

  check = ({ source }: Model) => source.latest > 0;

  async run(model: Model, world: World): Promise<void> {
    const { source } = model;
    const from = this.from % source.latest;
    const cow = world.newPath(world.folder, 'cow');
    const exceptions = source.tableOf(from).map((oldChunk) => ({ oldChunk }));
    const chunkSectors = chunkOf(from).size / SECTOR;
    writeFileSync(cow, makeStore({ chunkSectors, exceptions, base: source.state(from) }));
    const origin = world.stateFile(nameOf(source.latest), source.state(source.latest));
    const path = world.newPath(world.undos, 'undo');
    world.fault = this.fault;
    const words = ['snapback', '--cow', cow, '--origin', origin, '-o', path, '--force', 'writable'];
    const ran = await world.run('usual', words);
    expect(ran.status === 0 || ran.isFaulty, ran.said).toBe(true);
    if (ran.status !== 0) return;
    model.count('made at the source');
    model.undos.push({ path, from: source.state(source.latest), to: source.state(from) });
  }

  toString = () => `snapback from ${this.from}${showFault(this.fault)}`;
}

export const viewSteps = {
  store: fc
    .tuple(fc.oneof(fc.constant(0), fc.nat(5)), stateDir, fc.boolean(), rarely, fault)
    .map((wish) => new ViewStore(...wish)),
  snapback: fc.tuple(fc.nat(5), fault).map((wish) => new MakeSnapback(...wish)),
};
