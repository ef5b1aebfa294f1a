import { rmSync } from 'node:fs';
import { ftruncateSync } from 'node:fs';
import fc from 'fast-check';
import { stateDir, unitWrite, type Step } from './commands-send.js';
import type { Model, StateDir } from './model.js';
import { boot } from './this-boot.js';
import { SIZE, UNIT, unitBytes, type UnitWrite } from './volume.js';
import type { World } from './world.js';

/** Someone writes to the target: other bytes, or the same ones. */
export class ForeignWrite implements Step {
  constructor(private readonly writes: readonly UnitWrite[]) {}

  check = () => true;

  run(model: Model, world: World): Promise<void> {
    for (const [unit, fill] of this.writes)
      if ((unit + 1) * UNIT <= model.held.length) world.write(unitBytes(unit, fill), unit * UNIT);
    model.disturbed(world.held());
    return Promise.resolve();
  }

  toString = () => `someone writes ${this.writes.map(([unit, fill]) => `${unit}=${fill}`).join(' ')}`;
}

/** Someone makes a hole in it. */
export class Discard implements Step {
  constructor(private readonly unit: number) {}

  check = (model: Model) => (this.unit + 1) * UNIT <= model.held.length;

  async run(model: Model, world: World): Promise<void> {
    await world.punch(this.unit * UNIT, UNIT);
    model.disturbed(world.held());
  }

  toString = () => `someone discards ${this.unit}`;
}

/** Another file has its name: with the same bytes, or with those of a state. */
export class Replace implements Step {
  constructor(private readonly state: number | null) {}

  check = () => true;

  run(model: Model, world: World): Promise<void> {
    world.replace(this.state === null ? model.held : model.source.state(model.source.pick(this.state)));
    model.replaced(world.held());
    return Promise.resolve();
  }

  toString = () => `replaced by ${this.state === null ? 'its copy' : `S${this.state}`}`;
}

export class Swap implements Step {
  check = () => true;

  run(model: Model, world: World): Promise<void> {
    world.swap();
    model.swapped();
    return Promise.resolve();
  }

  toString = () => 'swapped with another file';
}

export class Resize implements Step {
  constructor(private readonly units: number) {}

  check = () => true;

  run(model: Model, world: World): Promise<void> {
    world.disturb((fd) => {
      ftruncateSync(fd, SIZE + this.units * UNIT);
    });
    model.disturbed(world.held());
    return Promise.resolve();
  }

  toString = () => `resized by ${this.units}`;
}

export class Boot implements Step {
  check = () => true;

  run(): Promise<void> {
    boot.number += 1;
    return Promise.resolve();
  }

  toString = () => 'another boot';
}

/** A state directory loses what it had of the target. */
export class Forget implements Step {
  constructor(private readonly dir: StateDir) {}

  check = () => true;

  async run(model: Model, world: World): Promise<void> {
    rmSync(await world.stateFolder(this.dir), { recursive: true, force: true });
    model.forgotten(this.dir);
  }

  toString = () => `${this.dir} forgets`;
}

export const disturbingSteps = {
  write: fc.array(unitWrite, { minLength: 1, maxLength: 3 }).map((writes) => new ForeignWrite(writes)),
  discard: fc.nat(63).map((unit) => new Discard(unit)),
  replace: fc.option(fc.nat(5)).map((state) => new Replace(state)),
  swap: fc.constant(new Swap()),
  resize: fc.constantFrom(0, 3, -1).map((units) => new Resize(units)),
  boot: fc.constant(new Boot()),
  forget: stateDir.map((dir) => new Forget(dir)),
};
