import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect } from 'vitest';
import { showFault } from './commands-archive.js';
import { expectKnown, fault, stateDir, stateNamed, type Step } from './commands-send.js';
import { isDone, type Model, type StateDir } from './model.js';
import type { Fault } from './mortal-files.js';
import { snapshotSource } from './volume.js';
import type { World } from './world.js';
import { writeStream } from './write-stream.js';

/** Writes the changes between two states into a file, and applies files of that kind. */
export class WriteStream implements Step {
  constructor(
    private readonly from: number,
    private readonly to: number,
  ) {}

  check = ({ source }: Model) => source.latest > 0;

  async run(model: Model, world: World): Promise<void> {
    const { source } = model;
    // Below zero: from where the target is, by its record.
    const recorded = stateNamed(source, (await world.record('one')).holds?.identity ?? null);
    const from =
      this.from < 0 && recorded >= 0
        ? Math.min(recorded, source.latest - 1)
        : Math.abs(this.from) % source.latest;
    const to = from + 1 + (this.to % (source.latest - from));
    const path = world.newPath(world.folder, 'stream');
    await writeStream(path, snapshotSource(source, from, { kind: 'snapshot', state: to }));
    model.streams.push({ path, to, units: source.changedUnits(from) });
  }

  toString = () => `write a stream from ${this.from} to ${this.to}`;
}

export class ApplyStream implements Step {
  constructor(
    private readonly which: number,
    private readonly dir: StateDir,
    private readonly how: 'from a file' | 'from a pipe' | 'cut',
    private readonly snapback: boolean,
    private readonly fault: Fault | null,
  ) {}

  check = (model: Model) => model.streams.length > 0;

  async run(model: Model, world: World): Promise<void> {
    const stream = model.streams.at(this.which % model.streams.length);
    if (stream === undefined) return;
    world.fault = this.fault;
    const undo = this.snapback ? world.newPath(world.undos, 'undo') : null;
    const kept = undo === null ? [] : ['-b', undo];
    const before = model.held;
    const isPending = model.isPending(this.dir);
    const known = await world.record(this.dir);
    const whole = readFileSync(stream.path);
    const input = this.how === 'cut' ? whole.subarray(0, whole.length - 100) : whole;
    const name = this.how === 'from a file' ? stream.path : '-';
    const ran = await world.run(this.dir, ['--apply', name, world.target, ...kept], input);
    const images = [model.source.state(stream.to)];
    await model.judge(world, this.dir, ran, { units: stream.units, images, mayStop: true });
    expectKnown(model, known, ran, isPending, images);
    if (this.how === 'cut') expect(ran.status).not.toBe(0);
    if (isDone(ran) && undo !== null && !isPending)
      model.undos.push({ path: undo, from: model.held, to: before });
  }

  toString = () =>
    `apply stream ${this.which} in ${this.dir} ${this.how}${this.snapback ? ' kept' : ''}${showFault(this.fault)}`;
}

const small = fc.nat(5);

export const streamSteps = {
  writeStream: fc.tuple(small, small).map((wish) => new WriteStream(...wish)),
  applyStream: fc
    .tuple(
      small,
      stateDir,
      fc.constantFrom('from a file' as const, 'from a file' as const, 'from a pipe' as const, 'cut' as const),
      fc.boolean(),
      fault,
    )
    .map((wish) => new ApplyStream(...wish)),
};
