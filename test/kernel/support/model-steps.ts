import fc from 'fast-check';
import { expect } from 'vitest';
import { ApplyUndo, Combine, Prune, Recover, Restore, showFault } from '../../model/commands-archive.js';
import { rarely, stateDir, unitWrites } from '../../model/commands-send.js';
import type { Model, StateDir } from '../../model/model.js';
import type { Fault } from '../../model/mortal-files.js';
import { ALL_UNITS, nameOf, SIZE, UNITS, type UnitWrite } from '../../model/volume.js';
import { readDirectly } from './devices.js';
import { run } from './lab.js';
import { discardUnit, GROUP, SNAPSHOTS, type ModelLab } from './model-lab.js';

type Step = fc.AsyncCommand<Model, ModelLab>;

/** A few runs are killed: each takes a process of its own, which is dear in the guest. */
const fault: fc.Arbitrary<Fault | null> = fc.oneof(
  { weight: 9, arbitrary: fc.constant(null) },
  fc.nat(60).map((step): Fault => ({ kind: 'kill', step })),
);
const snapshot = fc.nat(SNAPSHOTS - 1);

/** What of a run there is to choose. */
interface Wish {
  readonly from: number;
  readonly later: number;
  readonly dir: StateDir;
  readonly snapback: boolean;
  /** Percent. */
  readonly audit: number | null;
  readonly fault: Fault | null;
}

const wish: fc.Arbitrary<Wish> = fc.record({
  from: snapshot,
  later: fc.nat(SNAPSHOTS),
  dir: stateDir,
  snapback: fc.boolean(),
  audit: fc.constantFrom(null, null, null, 50, 50, 100),
  fault,
});

const showWish = ({ from, later, dir, snapback, audit, fault: met }: Wish) =>
  `${from} ${later} in ${dir}${snapback ? ' kept' : ''}${audit === null ? '' : ` audit=${audit}`}${showFault(met)}`;

/** Runs words that may keep an undo, and holds what they did against what they were to do. */
async function runKept(
  model: Model,
  lab: ModelLab,
  { dir, snapback, fault: met }: Wish,
  words: readonly string[],
  intent: Parameters<Model['judge']>[3],
): Promise<void> {
  const undo = snapback ? lab.newPath(lab.undos, 'undo') : null;
  const before = model.held;
  const isPending = model.isPending(dir);
  lab.fault = met;
  const ran = await lab.run(dir, [...words, ...(undo === null ? [] : ['-b', undo])]);
  await model.judge(lab, dir, ran, intent);
  if (ran.status === 0 && undo !== null && !isPending && intent.isCopy !== true)
    model.undos.push({ path: undo, from: model.held, to: before });
}

/** A transfer of what changed since a snapshot, with a later one's bytes or the volume's own. */
export class SendSnapshot implements Step {
  constructor(private readonly wish: Wish) {}

  check = () => true;

  async run(model: Model, lab: ModelLab): Promise<void> {
    const { from, later, audit } = this.wish;
    const { source } = model;
    const isLater = later > from && later < SNAPSHOTS;
    const words = [
      `${GROUP}/${nameOf(from)}`,
      ...(isLater ? ['--data-source', `${GROUP}/${nameOf(later)}`] : []),
      lab.target,
      ...(audit === null ? [] : ['--audit', `${audit}`]),
    ];
    const images = [source.state(isLater ? later : source.latest)];
    // What the model looks at is less than a stretch: it is audited as a whole, or not at all.
    const looked = audit === null ? {} : { audit: 100 };
    await runKept(model, lab, this.wish, words, { units: source.changedUnits(from), images, ...looked });
  }

  toString = () => `send ${showWish(this.wish)}`;
}

/** A copy, a copy that compares first, a scan, a repair: each leaves a snapshot's state. */
export class WholeSnapshot implements Step {
  constructor(
    private readonly how: 'copy' | 'seed' | 'scan' | 'repair',
    private readonly wish: Wish,
  ) {}

  check = () => true;

  async run(model: Model, lab: ModelLab): Promise<void> {
    const { how } = this;
    const from = `/dev/${GROUP}/${nameOf(this.wish.from)}`;
    const words = {
      copy: ['copy', from, lab.target],
      seed: ['copy', '--seed', from, lab.target],
      scan: ['--scan', from, lab.target],
      repair: ['verify', '--repair', from, lab.target],
    }[how];
    const images = [model.source.state(this.wish.from)];
    const isCopy = how === 'copy' || how === 'seed';
    const place = how === 'repair' ? { dir: 'usual' as const, fault: null } : {};
    const chosen = { ...this.wish, ...place, snapback: how === 'scan' && this.wish.snapback };
    await runKept(model, lab, chosen, words, { units: ALL_UNITS, images, isCopy });
  }

  toString = () => `${this.how} ${showWish(this.wish)}`;
}

export class VerifySnapshot implements Step {
  constructor(private readonly which: number) {}

  check = () => true;

  async run(model: Model, lab: ModelLab): Promise<void> {
    const ran = await lab.run('usual', ['verify', `/dev/${GROUP}/${nameOf(this.which)}`, lab.target]);
    const isEqual = model.held.equals(model.source.state(this.which));
    expect(ran.status, ran.said).toBe(isEqual ? 0 : 11);
  }

  toString = () => `verify ${this.which}`;
}

/** Back to what an undo leads to, at once: LVM merges the rest. */
export class RestoreAtOnce implements Step {
  constructor(
    private readonly which: number,
    private readonly dir: StateDir,
  ) {}

  check = (model: Model) => model.undos.length > 0;

  async run(model: Model, lab: ModelLab): Promise<void> {
    const names = [...lab.names.keys()];
    const name = names[this.which % names.length] ?? '';
    const words = ['restore', lab.target, '--to', name, '--from', lab.undos, '--instant'];
    const before = model.held;
    const { holds } = await lab.record(this.dir);
    const ran = await lab.run(this.dir, words);
    const isSure = holds?.is === 'exactly' && holds.believed === undefined && !model.isPending(this.dir);
    const goal = lab.names.get(name) ?? before;
    const intent = { units: ALL_UNITS, images: isSure ? [goal] : [goal, before] };
    await model.judge(lab, this.dir, ran, intent);
    await lab.waitForMerge();
    // and when all of it is there, the same
    await model.judge(
      lab,
      'two',
      { ...ran, status: 0, said: 'merged' },
      { units: ALL_UNITS.map(() => false), images: [] },
    );
    if (ran.status === 0) model.count('restored at once');
  }

  toString = () => `restore ${this.which} at once in ${this.dir}`;
}

/** Shows the target as it was, while someone writes to it. */
export class ViewUndo implements Step {
  constructor(
    private readonly which: number,
    private readonly dir: StateDir,
    private readonly writes: readonly UnitWrite[],
  ) {}

  check = (model: Model) => model.undos.length > 0;

  async run(model: Model, lab: ModelLab): Promise<void> {
    const undo = model.undos[this.which % model.undos.length];
    if (undo === undefined) return;
    const before = model.held;
    const ran = await lab.run(this.dir, ['view', 'open', 'past', lab.target, undo.path, '--json']);
    expect(await lab.held(), `a view writes nothing: ${ran.said}`).toBeBytes(before);
    if (ran.status === 0) {
      const { path } = JSON.parse(ran.stdout.toString()) as { path: string };
      if (undo.from.equals(before)) {
        expect(await readDirectly(path, 0, SIZE), ran.said).toBeBytes(undo.to);
        model.count('viewed');
      }
      await lab.disturb(this.writes);
      model.disturbed(await lab.held());
      if (undo.from.equals(before))
        expect(await readDirectly(path, 0, SIZE), 'while others write').toBeBytes(undo.to);
    }
    const closed = await lab.run(this.dir, ['view', 'close', 'past']);
    if (ran.status === 0) expect(closed.status, closed.said).toBe(0);
    await model.checkRecords(lab, 'a view');
  }

  toString = () => `view ${this.which} in ${this.dir}`;
}

/** What others do to the target, or to what is known of it. */
export class Happening implements Step {
  constructor(
    private readonly what: 'write' | 'discard' | 'merge' | 'made anew' | 'boot',
    private readonly writes: readonly UnitWrite[],
  ) {}

  check = () => true;

  async run(model: Model, lab: ModelLab): Promise<void> {
    const [[unit] = [0]] = this.writes;
    if (this.what === 'write') await lab.disturb(this.writes);
    if (this.what === 'discard') await discardUnit(lab.target, unit % UNITS);
    if (this.what === 'merge') await lab.merge(this.writes);
    if (this.what === 'made anew') await run(['lvchange', '-qq', '-an', `${GROUP}/target`]);
    if (this.what === 'made anew') await run(['lvchange', '-qq', '-ay', `${GROUP}/target`]);
    if (this.what === 'boot') await lab.boot();
    model.disturbed(await lab.held());
    await model.checkRecords(lab, this.what);
  }

  toString = () => `${this.what} ${this.writes.map(([unit, fill]) => `${unit}=${fill}`).join(' ')}`;
}

/** The source goes on. */
export class WriteSource implements Step {
  constructor(private readonly writes: readonly UnitWrite[]) {}

  check = () => true;

  async run(_model: Model, lab: ModelLab): Promise<void> {
    await lab.writeSource(this.writes);
  }

  toString = () => `write the source ${this.writes.map(([unit, fill]) => `${unit}=${fill}`).join(' ')}`;
}

/** What happens in a program, each kind as often as the number says. */
const KINDS: readonly (readonly [number, fc.Arbitrary<Step>])[] = [
  [8, wish.map((each) => new SendSnapshot(each))],
  [
    2,
    fc
      .tuple(fc.constantFrom('copy', 'seed', 'scan', 'repair'), wish)
      .map((each) => new WholeSnapshot(...each)),
  ],
  [1, snapshot.map((which) => new VerifySnapshot(which))],
  [3, fc.tuple(fc.nat(2), stateDir, rarely, fc.boolean(), fault).map((each) => new ApplyUndo(...each))],
  [1, fc.constant(new Combine(null))],
  [1, fc.tuple(fc.nat(3), stateDir, fault).map((each) => new Restore(...each))],
  [1, fc.tuple(snapshot, stateDir).map((each) => new RestoreAtOnce(...each))],
  [1, fc.constant(new Prune(1, null))],
  [1, fc.tuple(fc.nat(2), stateDir, unitWrites).map((each) => new ViewUndo(...each))],
  [2, fc.tuple(stateDir, rarely, fault).map((each) => new Recover(...each))],
  [
    3,
    fc
      .tuple(fc.constantFrom('write', 'discard', 'discard', 'merge', 'made anew', 'boot'), unitWrites)
      .map((each) => new Happening(...each)),
  ],
  [2, unitWrites.map((writes) => new WriteSource(writes))],
];

export const guestSteps = KINDS.flatMap(([times, kind]) => Array.from({ length: times }, () => kind));
