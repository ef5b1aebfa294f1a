import fc from 'fast-check';
import { vi } from 'vitest';
import { checkArchives } from './commands-archive.js';
import type { Step } from './commands-send.js';
import { CopySnapshot } from './commands-whole.js';
import { Model } from './model.js';
import { boot, sampling } from './this-boot.js';
import { SourceVolume, type UnitWrite } from './volume.js';
import { World } from './world.js';

/*
 * What stands in place of the real thing where programs run: for that, this is to be imported before all else of the model.
 */

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

// The other host of a pull is in this process.
vi.mock('../../src/reach/far-side.js', async (importOriginal) => {
  const { farHosts } = await import('./far-host.js');
  const start = (_destination: unknown, _reach: unknown, words: readonly string[]) =>
    Promise.resolve(farHosts.start(words));
  return {
    ...(await importOriginal<typeof import('../../src/reach/far-side.js')>()),
    startFarSide: start,
  };
});
// A volume this small is one stretch of an audit: the model's stretches are as much smaller.
vi.mock('../../src/send/audit.js', async (importOriginal) => {
  const real = await importOriginal<typeof import('../../src/send/audit.js')>();
  const { MAX_BLOCK_LENGTH } = await import('../../src/stream/block.js');
  const { STRETCH_UNITS, UNIT } = await import('./volume.js');
  const scale = MAX_BLOCK_LENGTH / (STRETCH_UNITS * UNIT);
  const nextStretch = (from: number, percent: number, size: number) => {
    const { offset, length } = real.nextStretch(from * scale, percent, size * scale);
    return { offset: offset / scale, length: length / scale };
  };
  return { ...real, nextStretch };
});

/**
 * Runs a program, from a copy on whose state has a name.
 *
 * @param first what the volume holds at first
 * @param isSampled whether samples are taken
 * @param tally counts what happened
 */
export async function runProgram(
  first: readonly UnitWrite[],
  isSampled: boolean,
  steps: Iterable<Step>,
  tally: Record<string, number> = {},
): Promise<Record<string, number>> {
  boot.number = 1;
  sampling.isOn = isSampled;
  const source = new SourceVolume(first);
  const world = new World(source.state(0));
  try {
    const model = new Model(source, tally);
    model.count('programs');
    await new CopySnapshot(0, false, 'one', null).run(model, world);
    await fc.asyncModelRun(() => ({ model, real: world }), steps);
    await checkArchives(model, world);
  } finally {
    world.remove();
  }
  return tally;
}
