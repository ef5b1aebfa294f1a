import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openArchive } from '../../src/archive/archive.js';
import { listArchives } from '../../src/chain/archive-folder.js';
import { planCombination } from '../../src/chain/combination.js';
import { States, undosOf } from '../../src/chain/states.js';
import { InterruptedError } from '../../src/errors.js';
import { pruneArchives } from '../../src/jobs/archive.js';
import { randomFrom } from '../kernel/support/random-moments.js';
import { applyWrites, archiveBytes, landOn, SECTOR, type Write } from '../support/scenes/archives.js';
import { quietSurroundings } from '../support/surroundings.js';

const SECTORS = 40;
const SIZE = SECTORS * SECTOR;
/** When the states came to be, the first one's undo being the oldest: two in a month, then one, … */
const DAYS = [
  '2026-01-05',
  '2026-01-20',
  '2026-02-05',
  '2026-02-20',
  '2026-03-05',
  '2026-03-20',
  '2026-04-05',
];
const RULES = { last: 1, hourly: 0, daily: 0, weekly: 0, monthly: 3 };

let folder = '';
/** What the volume held in each state. */
const contents = new Map<string, Buffer>();

beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-prune-'))));
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function undoFiles(): string[] {
  return readdirSync(folder).filter((name) => name.endsWith('.undo'));
}

it('a prune keeps the last state of each month, and the undos that lead to it', async () => {
  await fill();
  const kept = ['S6', 'S4', 'S2'];
  const summary = await pruneArchives(folder, { rules: RULES, dryRun: false }, quietSurroundings());
  expect(summary.plans.map((plan) => plan.kept)).toEqual([kept]);
  expect(undoFiles()).toHaveLength(3);
  await expectWaysTo(kept);
});

it('a prune that is interrupted anywhere leaves a way to every state that is kept, and the next prune finishes', async () => {
  const kept = ['S6', 'S4', 'S2'];
  for (let nth = 1; ; nth++) {
    rmSync(folder, { recursive: true });
    folder = mkdtempSync(join(tmpdir(), 'lvmsync-prune-'));
    await fill();
    const { env, wasAsked } = interruptedAt(nth);
    const run = pruneArchives(folder, { rules: RULES, dryRun: false }, env);
    const isOver = await run.then(
      () => true,
      (error: unknown) => {
        expect(error).toBeInstanceOf(InterruptedError);
        return false;
      },
    );
    await expectWaysTo(kept);
    if (isOver) {
      // Each file that is combined is asked at, and each that is removed.
      expect(wasAsked()).toBeGreaterThan(15);
      return;
    }
    const { plans } = await pruneArchives(folder, { rules: RULES, dryRun: false }, quietSurroundings());
    expect(plans.map((plan) => plan.kept)).toEqual([kept]);
    expect(undoFiles()).toHaveLength(3);
    await expectWaysTo(kept);
  }
});

/** Undos of random changes. The state S0 is the oldest. */
async function fill(): Promise<void> {
  const random = randomFrom(3);
  // Every undo must lead to what random writes made of the state that it leads from.
  let volume = Buffer.alloc(SIZE, 'the latest state');
  contents.set(`S${DAYS.length}`, volume);
  for (let index = DAYS.length; index > 0; index--) {
    const passes: Write[][] = [1, 2, 3].map(() => [
      {
        at: Math.floor(random() * (SECTORS - 6)),
        count: 1 + Math.floor(random() * 6),
        kind: 'packed',
        fill: index,
      },
    ]);
    const header = {
      kind: 'undo' as const,
      ...{ base: `S${index}`, result: `S${index - 1}` },
      time: `${DAYS[index - 1] ?? ''}T12:00:00Z`,
    };
    writeFileSync(join(folder, `${index}.undo`), await archiveBytes(SIZE, { passes, indexed: true, header }));
    volume = Buffer.from(volume);
    applyWrites(volume, passes);
    contents.set(`S${index - 1}`, volume);
  }
}

/** Goes back from the latest state to each of these by what is in the folder. */
async function expectWaysTo(names: readonly string[]): Promise<void> {
  const ways = new States(undosOf(await listArchives(folder))).waysFrom(`S${DAYS.length}`);
  for (const name of names) {
    const archives = [];
    for (const { archive } of ways.to(name)) archives.push(await openArchive(archive.path));
    const volume = Buffer.from(contents.get(`S${DAYS.length}`) ?? Buffer.alloc(0));
    await landOn(volume, planCombination(archives));
    expect(volume).toBeBytes(contents.get(name));
  }
}

/** Surroundings that interrupt at the nth place where they are asked. */
function interruptedAt(nth: number) {
  let asked = 0;
  const throwIfAborted = () => {
    asked += 1;
    if (asked === nth) throw new InterruptedError('SIGTERM');
  };
  const signal = Object.assign(new EventTarget(), { throwIfAborted, aborted: false });
  return {
    env: { ...quietSurroundings(), signal: signal as unknown as AbortSignal },
    wasAsked: () => asked,
  };
}
