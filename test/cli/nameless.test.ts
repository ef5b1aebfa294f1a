import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';

/* A scan's snapback starts from a state with a name and leads to one without: it compared, and knows no base. */

const SIZE = 256 * 1024;
let folder = '';
const at = (name: string) => join(folder, name);
const run = (...words: readonly string[]) => runWords([...words, '--state-dir', at('state')]);
const restore = (goal: string) => run('restore', at('target'), '--to', goal, '--from', at('undos'));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-nameless-'));
  mkdirSync(at('undos'));
  writeFileSync(at('source'), Buffer.alloc(SIZE, 'first'));
  expect((await run('copy', at('source'), at('target'), '--create')).status).toBe(0);
  for (const [name, words] of [
    ['1.undo', 'second'],
    ['2.undo', 'third'],
  ] as const) {
    writeFileSync(at('source'), Buffer.alloc(SIZE, words));
    const scanned = await run('--scan', at('source'), at('target'), '-b', at(`undos/${name}`));
    expect(scanned.status, scanned.said.join()).toBe(0);
  }
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it('a restore says which snapback starts from the state of the target, and that --apply takes it', async () => {
  const { status, said } = await restore('2026-11-21');
  const [undo, target] = [at('undos/2.undo'), at('target')];
  expect([status, said.length]).toEqual([7, 3]);
  expect(said.slice(0, 2)).toEqual(
    [at('undos/1.undo'), undo].map(
      (each) =>
        `skipped: ${each}: the state that it leads to has no name, so its place in the order is unknown ` +
        `("lvmsync --apply ${each} TARGET" applies it by itself)`,
    ),
  );
  expect(said[2]).toMatch(/^\S*target: it holds exactly stopped-[0-9a-f]{32}\. /);
  expect(said[2]).toContain(
    `. ${undo} starts from that state, but the state that it leads to has no name, so restore cannot use it: ` +
      `"lvmsync --apply ${undo} ${target}" applies it by itself`,
  );
});

it.each(['nonsense', '1.undo', '2026-1-2', 'yesterday'])(
  'a restore --to %s is refused with what --to takes',
  async (goal) => {
    const { status, said } = await restore(goal);
    expect([status, said.at(-1)]).toEqual([
      2,
      `--to ${goal}: this is neither a time nor the name of a known state: give a time, such as 2026-11-21, ` +
        '2026-11-21T15:04 or 2026-11-21T15:04:05Z, or a state by its name or the beginning of its name ' +
        `("lvmsync archive list ${at('undos')}" shows all states)`,
    ]);
  },
);

it('a restore to the state that the target is in has nothing to do', async () => {
  const doctor = await run('doctor', at('target'), '--json');
  const { state } = JSON.parse(doctor.stdout.toString()) as { state: { identity: string } };
  const { status, said } = await restore(state.identity);
  expect([status, said.at(-1)]).toEqual([
    0,
    expect.stringMatching(/already in state stopped-.*: nothing to do/),
  ]);
});

it('a prune says how many archives it leaves alone because they lack a name', async () => {
  const words = ['archive', 'prune', '--keep-last', '1', at('undos')];
  const { status, said } = await runWords(words);
  expect([status, said]).toEqual([
    0,
    [
      'not pruned: 2 archives (1.undo, 2.undo): the state that such an undo starts from or leads to has no name, ' +
        'so its place is not known',
      '0 states kept, 0 dropped; 0 B removed, 0 B written',
    ],
  ]);
  const { stdout } = await runWords([...words, '--json']);
  expect(JSON.parse(stdout.toString())).toMatchObject({ kept: [], unpruned: ['1.undo', '2.undo'] });
});

it('what the message says takes the target back, one after the other', async () => {
  for (const [name, words] of [
    ['2.undo', 'second'],
    ['1.undo', 'first'],
  ] as const) {
    const { status, said } = await run('--apply', at(`undos/${name}`), at('target'));
    expect(status, said.join()).toBe(0);
    expect(readFileSync(at('target'))).toBeBytes(Buffer.alloc(SIZE, words));
  }
});
