import fc from 'fast-check';
import { expect, it } from 'vitest';
// Before all else: it puts what dies with a run in place of Node's files.
import { runProgram } from './programs.js';
import { archiveSteps } from './commands-archive.js';
import { disturbingSteps } from './commands-disturb.js';
import { rarely, Send, sendWish, unitWrites, WriteVolume, type Step } from './commands-send.js';
import { streamSteps } from './commands-stream.js';
import { auditedRounds, cutAndDisturbed, halfCopied, overtaken } from './commands-trouble.js';
import { viewSteps } from './commands-view.js';
import { wholeSteps } from './commands-whole.js';
import { ALL_UNITS, type UnitWrite } from './volume.js';

const PROGRAMS = Number(process.env['LVMSYNC_MODEL_PROGRAMS'] ?? 100);
/** The same programs in each run; other seeds make others. */
const SEEDS = (process.env['LVMSYNC_MODEL_SEED'] ?? '42,43,44').split(',').map(Number);

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
  [2, auditedRounds],
  [2, viewSteps.store],
  [1, viewSteps.snapback],
  [1, overtaken],
];
/** What is met in every hundred programs, about twenty times and more: what is not met is not checked. */
const MET = [
  ...['done', 'killed', 'from a known state', 'sent from the recorded base', 'proved in part'],
  ...['audited in a round', 'audited at once', 'archives checked', 'stores', 'made at the source'],
];
const steps = KINDS.flatMap(([times, kind]) => Array.from({ length: times }, () => kind));

it.each(SEEDS)(
  `of seed %i ${PROGRAMS} programs leave only what was named, or what was there`,
  async (seed) => {
    const tally: Record<string, number> = {};
    const program = async (first: readonly UnitWrite[], isSampled: boolean, commands: Iterable<Step>) => {
      await runProgram(first, isSampled, commands, tally);
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
        seed,
      },
    );
    console.log(tally);
    expect(tally['done']).toBeGreaterThan(0);
    if (PROGRAMS >= 100) expect(MET.filter((what) => tally[what] === undefined)).toEqual([]);
  },
);
