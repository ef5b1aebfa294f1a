import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';
import { archiveBytes } from '../support/scenes/archives.js';

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

it('the doctor says that a scan compared, and that its proof is not recorded', async () => {
  const { status, stdout } = await run('doctor', at('target'));
  expect([status, stdout.toString()]).toEqual([
    0,
    expect.stringMatching(
      /ok {7}state: exactly stopped-.*, brought by a comparison with \S*source of [^]* proved: no proof of any part of it is recorded \(/,
    ),
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

describe('a combine of archives without names', () => {
  const header = { base: 'S', result: null, kind: 'undo' } as const;
  const save = async (name: string, time: string, kind: 'undo' | 'changes' = 'undo') => {
    const wanted = { passes: [[]], indexed: true, header: { ...header, kind, base: name, time } };
    writeFileSync(at(name), await archiveBytes(SIZE, wanted));
    return at(name);
  };
  const combine = (...words: readonly string[]) => runWords(['combine', '-o', at('out'), ...words]);

  it.each(['undo', 'changes'] as const)(
    '%s is refused where their times contradict the order',
    async (kind) => {
      const monday = await save('monday', '2026-03-02T00:00:00Z', kind);
      const tuesday = await save('tuesday', '2026-03-03T00:00:00Z', kind);
      const [first, second] = kind === 'undo' ? [monday, tuesday] : [tuesday, monday];
      const { status, said } = await combine(first, second);
      const [newest, than] = kind === 'undo' ? [', the newest first', 'later'] : ['', 'earlier'];
      expect([status, said]).toEqual([
        7,
        [
          expect.stringMatching(
            new RegExp(
              `^${second}: its time \\(2026-.*\\) is ${than} than that of ${first}, so it seems to belong before that one: the order must be ` +
                `that in which they would be applied${newest}; if this order is right, and a clock was wrong, use --force=base$`,
            ),
          ),
        ],
      ]);
      expect(existsSync(at('out'))).toBe(false);
      expect((await combine('--force=base', first, second)).status).toBe(0);
      rmSync(at('out'));
    },
  );

  it('says how to correct an order that it has to trust, and what is in the way', async () => {
    const [monday, tuesday] = [
      await save('monday', '2026-03-02T00:00:00Z'),
      await save('tuesday', '2026-03-03T00:00:00Z'),
    ];
    const trusted =
      `${tuesday} and ${monday}: nothing proves that the second continues the first (${tuesday} leads to a state ` +
      `without a name): the given order is assumed to be right; if it is not, remove ${at('out')}, and combine them in ` +
      'the order in which they would be applied';
    const combined = await combine(tuesday, monday);
    expect([combined.status, combined.said[0]]).toEqual([0, trusted]);
    const again = await combine(tuesday, monday);
    expect([again.status, again.said]).toEqual([
      2,
      [
        trusted,
        `${at('out')}: already exists; an archive never overwrites a file: give another name, or remove it first`,
      ],
    ]);
  });
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
