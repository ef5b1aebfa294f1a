import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { SECTOR, writeChain } from '../support/scenes/archives.js';

const MAIN = resolve(import.meta.dirname, '../../src/cli/main.ts');
const SLOW = 60_000;
const FULL = 'lvmsync: cannot write to standard output: ENOSPC: no space left on device\n';
let folder = '';
let undos = '';
const at = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-stdout-'));
  undos = at('undos');
  mkdirSync(undos);
  await writeChain(undos, 2);
  for (const name of ['source', 'target']) writeFileSync(at(name), Buffer.alloc(64 * SECTOR));
  writeFileSync(at('other'), Buffer.alloc(64 * SECTOR, 'other'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Runs the program with a stdout of our choice; its exit status and what it said on stderr. */
async function runInto(stdout: number | 'pipe', words: readonly string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN, ...words], {
    stdio: ['ignore', stdout, 'pipe'],
  });
  child.stdout?.destroy();
  let said = '';
  child.stderr?.on('data', (piece: Buffer) => (said += piece.toString()));
  const [status] = (await once(child, 'close')) as [number];
  return { status, said };
}

it.each<[string, () => string[]]>([
  ['--version', () => ['--version']],
  ['archive list', () => ['archive', 'list', undos]],
  ['archive list --json', () => ['archive', 'list', '--json', undos]],
  ['archive check --json', () => ['archive', 'check', '--json', undos]],
  ['inspect', () => ['inspect', join(undos, '1.undo')]],
  ['inspect --json', () => ['inspect', '--json', join(undos, '1.undo')]],
  ['doctor TARGET', () => ['doctor', at('target'), '--state-dir', at('state')]],
  ['combine --json', () => ['combine', '--json', '-o', at('one.undo'), ...both()]],
  ['--scan --json', () => ['--scan', at('source'), '--json', '--state-dir', at('state'), at('target')]],
])(
  'a report of %s that stdout does not take is an error',
  async (_what, words) => {
    const full = openSync('/dev/full', 'w');
    const { status, said } = await runInto(full, words());
    closeSync(full);
    expect({ status, said }).toEqual({ status: 9, said: expect.stringContaining(FULL) as string });
    expect(said.split(FULL)).toHaveLength(2);
  },
  SLOW,
);

it(
  'a failure of the run itself keeps its own status and words',
  async () => {
    const full = openSync('/dev/full', 'w');
    const { status, said } = await runInto(full, ['archive', 'list', at('nowhere')]);
    closeSync(full);
    expect([status, said]).toEqual([8, expect.stringMatching(/^lvmsync: .*nowhere: .*ENOENT.*\n$/)]);
  },
  SLOW,
);

it.each<[string, () => string[], number]>([
  ['archive list', () => ['archive', 'list', undos], 0],
  ['inspect', () => ['inspect', join(undos, '1.undo')], 0],
  ['inspect --json', () => ['inspect', '--json', join(undos, '1.undo')], 0],
  ['verify', () => ['verify', at('source'), at('other')], 11],
  ['verify --json', () => ['verify', '--json', at('source'), at('other')], 11],
])(
  'a reader that goes away does not change how %s ends',
  async (_what, words, status) => {
    const result = await runInto('pipe', words());
    expect([result.status, result.said]).toEqual([status, expect.not.stringContaining('standard output')]);
  },
  SLOW,
);

it(
  'a full stdout does not change how a doctor ends',
  async () => {
    const nowhere = openSync('/dev/null', 'w');
    const { status } = await runInto(nowhere, ['doctor']);
    closeSync(nowhere);
    expect(await runInto('pipe', ['doctor'])).toEqual({ status, said: '' });
  },
  SLOW,
);

function both(): string[] {
  return ['2.undo', '1.undo'].map((name) => join(undos, name));
}
