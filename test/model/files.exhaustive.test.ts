import fc from 'fast-check';
import { expect, it, vi } from 'vitest';
import { archiveSteps } from './commands-archive.js';
import { disturbingSteps } from './commands-disturb.js';
import { rarely, Send, sendWish, unitWrites, WriteVolume, type Step } from './commands-send.js';
import { streamSteps } from './commands-stream.js';
import { cutAndDisturbed, halfCopied, overtaken } from './commands-trouble.js';
import { CopySnapshot, wholeSteps } from './commands-whole.js';
import { Model } from './model.js';
import { boot, sampling } from './this-boot.js';
import { ALL_UNITS, SourceVolume, type UnitWrite } from './volume.js';
import { World } from './world.js';

vi.mock('node:fs/promises', async (importOriginal) => {
  const { mortalPromises } = await import('./mortal-files.js');
  return mortalPromises(await importOriginal());
});
vi.mock('node:fs', async (importOriginal) => {
  const { mortalFiles } = await import('./mortal-files.js');
  return mortalFiles(await importOriginal());
});
// A look through all that every process has open takes longer than all else that a run does.
vi.mock('../../src/usage/openers.js', () => ({ findOpener: () => null }));
vi.mock('../../src/usage/write-stamp.js', async (importOriginal) => {
  const { boot: now } = await import('./this-boot.js');
  return {
    ...(await importOriginal<typeof import('../../src/usage/write-stamp.js')>()),
    readBootId: () => Promise.resolve(`boot-${now.number}`),
  };
});

// On a volume this small a sample would see all that it should not count on.
vi.mock('../../src/send/base-sample.js', async (importOriginal) => {
  const real = await importOriginal<typeof import('../../src/send/base-sample.js')>();
  const { sampling } = await import('./this-boot.js');
  return {
    takeSample: (...words: Parameters<typeof real.takeSample>) =>
      sampling.isOn ? real.takeSample(...words) : Promise.resolve({ changed: [], unchanged: [] }),
    takeCloserSample: (...words: Parameters<typeof real.takeCloserSample>) =>
      sampling.isOn ? real.takeCloserSample(...words) : Promise.resolve([]),
  };
});

const PROGRAMS = Number(process.env['LVMSYNC_MODEL_PROGRAMS'] ?? 300);
/** The same programs in each run; another seed makes others. */
const SEED = process.env['LVMSYNC_MODEL_SEED'] ?? '42';

/** What happens in a program, each kind as often as the number says. */
const KINDS: readonly (readonly [number, fc.Arbitrary<Step>])[] = [
  [5, unitWrites.map((writes) => new WriteVolume(writes))],
  [8, sendWish.map((wish) => new Send(wish))],
  [4, archiveSteps.undo],
  [1, archiveSteps.combine],
  [2, archiveSteps.restore],
  [1, archiveSteps.prune],
  [1, streamSteps.writeStream],
  [2, streamSteps.applyStream],
  [3, archiveSteps.recover],
  [1, wholeSteps.whole],
  [1, wholeSteps.snapshot],
  [1, wholeSteps.verify],
  [1, wholeSteps.files],
  [1, disturbingSteps.write],
  [1, disturbingSteps.discard],
  [1, disturbingSteps.replace],
  [1, disturbingSteps.swap],
  [1, disturbingSteps.resize],
  [1, disturbingSteps.boot],
  [1, disturbingSteps.forget],
  [3, cutAndDisturbed],
  [1, halfCopied],
  [1, overtaken],
];
const steps = KINDS.flatMap(([times, kind]) => Array.from({ length: times }, () => kind));

it(`${PROGRAMS} programs leave nothing but what was named, or what was there`, async () => {
  const tally: Record<string, number> = {};
  const program = async (first: readonly UnitWrite[], isSampled: boolean, commands: Iterable<Step>) => {
    boot.number = 1;
    sampling.isOn = isSampled;
    const source = new SourceVolume(first);
    const world = new World(source.state(0));
    try {
      const model = new Model(source, tally);
      model.count('programs');
      // Where all begins: a copy whose state has a name.
      await new CopySnapshot(0, false, 'one', null).run(model, world);
      await fc.asyncModelRun(() => ({ model, real: world }), commands);
    } finally {
      world.remove();
    }
  };
  // Some volumes are empty but for a few units.
  const first = fc
    .tuple(fc.nat(7), fc.nat(7))
    .map(([fill, empty]) =>
      ALL_UNITS.map((_, unit): UnitWrite => [unit, unit % 8 < empty ? 0 : (unit + fill) % 8]),
    );
  await fc.assert(
    fc.asyncProperty(first, rarely, fc.commands(steps, { maxCommands: 25, size: 'max' }), program),
    {
      numRuns: PROGRAMS,
      seed: Number(SEED),
    },
  );
  console.log(tally);
  expect(tally['done']).toBeGreaterThan(0);
});
