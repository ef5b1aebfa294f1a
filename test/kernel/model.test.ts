import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Model } from '../model/model.js';
import { ALL_UNITS, type UnitWrite } from '../model/volume.js';
import { ModelLab } from './support/model-lab.js';
import { guestSteps, WholeSnapshot } from './support/model-steps.js';

const PROGRAMS = Number(process.env['LVMSYNC_GUEST_PROGRAMS'] ?? 40);

/** What the source went through: some of it comes, goes, and comes again. */
const FIRST = ALL_UNITS.map((_, unit): UnitWrite => [unit, unit % 8]);
const LATER: readonly (readonly UnitWrite[])[] = [
  [0, 1, 2, 9, 20, 21, 63].map((unit): UnitWrite => [unit, 6]),
  [1, 2, 9, 33, 40].map((unit): UnitWrite => [unit, unit % 8]),
  [0, 2, 34, 50].map((unit): UnitWrite => [unit, 3]),
];

let lab: ModelLab;
beforeAll(async () => {
  lab = await ModelLab.make(FIRST, LATER);
});
afterAll(() => lab.remove());

it(`${PROGRAMS} programs on logical volumes leave only what was named, or what was there`, async () => {
  const tally: Record<string, number> = {};
  const program = async (commands: Iterable<fc.AsyncCommand<Model, ModelLab>>) => {
    const model = new Model(lab.source, tally);
    model.count('programs');
    for (const [name, state] of lab.names) model.names.set(name, state);
    await lab.begin(model.held);
    const first = { from: 0, later: 0, dir: 'one', snapback: false, audit: null, fault: null } as const;
    await new WholeSnapshot('copy', first).run(model, lab);
    await fc.asyncModelRun(() => ({ model, real: lab }), commands);
  };
  await fc.assert(fc.asyncProperty(fc.commands(guestSteps, { maxCommands: 6, size: 'max' }), program), {
    numRuns: PROGRAMS,
  });
  console.log(tally);
  expect(tally['done']).toBeGreaterThan(PROGRAMS);
});
