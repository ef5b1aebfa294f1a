import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listArchives } from '../../src/chain/archive-folder.js';
import { planUndos } from '../../src/chain/combination.js';
import { undosOf } from '../../src/chain/states.js';
import { saveCombination } from '../../src/jobs/combine.js';
import { randomFrom } from '../kernel/support/random-moments.js';
import { runWords } from '../support/run-program.js';
import { archiveBytes, SECTOR, type Write } from '../support/scenes/archives.js';
import { quietSurroundings } from '../support/surroundings.js';

const SECTORS = 64;
const SIZE = SECTORS * SECTOR;
const GENERATIONS = 8;

let folder = '';
let target = '';
let undos = '';
/** What the target held in each state. */
const contents: Buffer[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-restore-'));
  target = join(folder, 'target');
  undos = join(folder, 'undos');
  mkdirSync(undos);
  contents.length = 0;
  writeFileSync(target, Buffer.alloc(SIZE, 'the first state'));
  await recordFirst();
  contents.push(readFileSync(target));
  const random = randomFrom(7);
  for (let generation = 1; generation <= GENERATIONS; generation++) await apply(generation, random);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function run(words: readonly string[]) {
  return await runWords([...words, '--state-dir', join(folder, 'state')]);
}

/** Makes the first state one that has a name: what comes later has no proofs of it. */
async function recordFirst(): Promise<void> {
  const writes: Write[] = [{ at: 0, count: SECTORS, kind: 'data', fill: 0 }];
  const header = { kind: 'full', base: null, result: 'S0' } as const;
  const stream = join(folder, 'stream');
  writeFileSync(stream, await archiveBytes(SIZE, { passes: [writes], indexed: false, header }));
  expect((await run(['--apply', stream, target])).status).toBe(0);
}

const restoreTo = (to: string, ...more: readonly string[]) =>
  run(['restore', target, '--to', to, '--from', undos, ...more]);

const undoFiles = () =>
  readdirSync(undos)
    .filter((name) => name.endsWith('.undo'))
    .sort();

/** Makes the target hold a state; nobody knows which, as it was written behind lvmsync's back. */
function putInState(generation: number): void {
  writeFileSync(target, contents[generation] ?? Buffer.alloc(0));
}

describe('restore', () => {
  it('takes a target back to each earlier state, by its record and without one', async () => {
    for (let from = GENERATIONS; from > 0; from -= 3) {
      for (let to = 0; to <= from; to++) {
        putInState(from);
        const { status, said } = await restoreTo(`S${to}`);
        expect({ status, said: said.join('\n') }).toMatchObject({ status: 0 });
        expect(readFileSync(target)).toBeBytes(contents[to]);
        // from there the record knows
        if (to === 0 || to === from) continue;
        expect((await restoreTo('S0')).said.join('\n')).not.toContain('no usable record');
        expect(readFileSync(target)).toBeBytes(contents[0]);
      }
    }
  });

  it('in a dry run shows the plan and writes nothing', async () => {
    const { status, said } = await restoreTo('S5', '--dry-run');
    expect(status).toBe(0);
    expect(said[0]).toMatch(/from state S8 to S5 .*, by 3 archives as one/);
    expect(said.slice(1, 4).map((line) => line.split('/').at(-1))).toEqual(['8.undo', '7.undo', '6.undo']);
    expect(readFileSync(target)).toBeBytes(contents[GENERATIONS]);
  });

  it('keeps the way forward again, if told to', async () => {
    await restoreTo('S2', '-b', join(folder, 'forth'));
    expect((await run(['--apply', join(folder, 'forth'), target])).status).toBe(0);
    expect(readFileSync(target)).toBeBytes(contents[GENERATIONS]);
    expect((await restoreTo('S8')).said.join('\n')).toMatch(/already in state S8/);
  });

  it('refuses a target that was written to since, before it writes anything', async () => {
    const undo = readFileSync(target);
    // a sector that the last transfer wrote
    const changed =
      contents[GENERATIONS]?.findIndex((byte, at) => byte !== contents[GENERATIONS - 1]?.[at]) ?? 0;
    undo[changed] = (undo[changed] ?? 0) ^ 0xff;
    writeFileSync(target, undo);
    const { status, said } = await restoreTo('S3');
    expect(status).toBe(7);
    expect(said.at(-1)).toMatch(/it cannot be proved to be in a state that an archive in .* starts from/);
    expect(readFileSync(target)).toBeBytes(undo);
  });

  it('refuses a damaged archive before it writes', async () => {
    const bad = join(undos, '6.undo');
    const bytes = readFileSync(bad);
    bytes[bytes.length - 400] = (bytes[bytes.length - 400] ?? 0) ^ 1;
    writeFileSync(bad, bytes);
    const { status, said } = await restoreTo('S3');
    expect(status).toBe(6);
    expect(said.at(-1)).toContain('6.undo');
    expect(readFileSync(target)).toBeBytes(contents[GENERATIONS]);
  });

  it('says what it lacks if no archives lead there', async () => {
    rmSync(join(undos, '5.undo'));
    const { status, said } = await restoreTo('S3');
    expect(status).toBe(2);
    expect(said.at(-1)).toMatch(/--to S3: no archives lead to it from S8/);
    expect((await restoreTo('S6')).status).toBe(0);
    // S4 is known, but not what leads from S6 to it
    expect((await restoreTo('yesterday')).status).toBe(2);
  });
});

describe('archive prune', () => {
  const rules = ['--keep-last', '2'];

  it('leaves what leads to each kept state', async () => {
    const { status } = await runWords(['archive', 'prune', ...rules, undos]);
    expect(status).toBe(0);
    expect(undoFiles()).toEqual(['7.undo', '8.undo']);
    await restoreTo('S6');
    expect(readFileSync(target)).toBeBytes(contents[6]);
    expect((await restoreTo('S5')).status).toBe(2);
  });

  it('needs a rule', async () => {
    const { status, said } = await runWords(['archive', 'prune', undos]);
    expect(status).toBe(2);
    expect(said).toEqual([expect.stringMatching(/needs at least one rule/)]);
    expect(undoFiles()).toHaveLength(GENERATIONS);
  });
});

describe('a target whose state is not known', () => {
  it('is taken back by archives that a prune made, on the user’s word if they do not prove all of it', async () => {
    for (const files of [
      ['8', '7', '6'],
      ['5', '4', '3'],
    ]) {
      const out = join(undos, `${files[0] ?? ''}-pruned.undo`);
      const listed = undosOf(await listArchives(undos));
      const combined = files.flatMap((name) =>
        listed.filter(({ archive }) => archive.name === `${name}.undo`),
      );
      const planned = await planUndos(combined, new AbortController().signal);
      await saveCombination(out, planned, null, quietSurroundings());
      for (const name of files) rmSync(join(undos, `${name}.undo`));
    }
    expect((await runWords(['archive', 'check', undos])).status).toBe(0);
    for (const [from, to] of [
      [8, 5],
      [8, 1],
      [5, 2],
    ] as const) {
      putInState(from);
      const { status, said } = await restoreTo(`S${to}`);
      expect(said.join('\n')).toMatch(
        status === 0 ? /taken back to/ : /nothing proves .*nothing was written/,
      );
      if (status !== 0)
        expect((await restoreTo(`S${to}`, '--force', 'base')).said.join('\n')).toMatch(/taken back to/);
      expect(readFileSync(target)).toBeBytes(contents[to]);
    }
  });

  it('is not guessed beyond an archive that proves nothing, but assumed to be in the latest state if forced', async () => {
    const files = ['8', '7'].map((name) => join(undos, `${name}.undo`));
    await runWords(['combine', '-o', join(undos, 'combined.undo'), ...files]);
    for (const file of files) rmSync(file);
    putInState(GENERATIONS);
    const { status, said } = await restoreTo('S4');
    expect(status).toBe(7);
    expect(said.at(-1)).toMatch(/nothing proves that it holds the base of the undo.*--force=base/);
    expect(readFileSync(target)).toBeBytes(contents[GENERATIONS]);
    expect((await restoreTo('S4', '--force', 'base')).status).toBe(0);
    expect(readFileSync(target)).toBeBytes(contents[4]);
  });
});

describe('archive list and check', () => {
  it('tell what is there, and what is wrong with it', async () => {
    const whole = readFileSync(join(undos, '3.undo'));
    writeFileSync(join(undos, '3.undo'), whole.subarray(0, -1));
    copyFileSync(join(undos, '4.undo'), join(undos, '4.undo.partial'));
    writeFileSync(join(undos, 'notes.txt'), 'not an archive');
    const list = await runWords(['archive', 'list', '--json', undos]);
    const { archives } = JSON.parse(list.stdout.toString()) as {
      archives: { path: string; problem: string | null }[];
    };
    expect(archives).toHaveLength(GENERATIONS);
    expect(archives.filter(({ problem }) => problem !== null).map(({ path }) => path)).toEqual([
      join(undos, '3.undo'),
    ]);

    const cut = await runWords(['archive', 'check', undos]);
    expect(cut.status).toBe(5);
    expect(cut.stdout.toString()).toMatch(/^ok {2}8\.undo$/m);
    expect(cut.stdout.toString()).toMatch(/^BAD .*3\.undo: cut short at byte \d+/m);

    const damaged = readFileSync(join(undos, '5.undo'));
    damaged[700] = (damaged[700] ?? 0) ^ 1;
    writeFileSync(join(undos, '5.undo'), damaged);
    expect((await runWords(['archive', 'check', undos])).status).toBe(6);
  });

  it('find an archive whose first bytes are damaged, and name files that are not archives', async () => {
    const path = join(undos, '5.undo');
    const damaged = readFileSync(path);
    damaged.fill(0, 0, 4096);
    writeFileSync(path, damaged);
    writeFileSync(join(undos, 'zeroes.undo'), Buffer.alloc(4096));
    const { status, stdout, said } = await runWords(['archive', 'check', undos]);
    expect(status).toBe(6);
    expect(stdout.toString()).toMatch(/^BAD .*5\.undo: /m);
    expect(said).toEqual([`${join(undos, 'zeroes.undo')}: not an archive, so it was not checked`]);
  });
});

/** Brings the target to its next state by some writes. */
async function apply(generation: number, random: () => number): Promise<void> {
  const writes = [0, 20, 40].map((from): Write => ({
    at: from + Math.floor(random() * 12),
    count: 1 + Math.floor(random() * 8),
    kind: random() < 0.7 ? 'data' : 'zero',
    fill: generation,
  }));
  const header = { base: `S${generation - 1}`, result: `S${generation}` };
  const stream = join(folder, 'stream');
  writeFileSync(stream, await archiveBytes(SIZE, { passes: [writes], indexed: false, header }));
  const { status } = await run(['--apply', stream, target, '-b', join(undos, `${generation}.undo`)]);
  expect(status).toBe(0);
  contents.push(readFileSync(target));
}
