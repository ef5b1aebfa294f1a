import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';
import { writeChain } from './archives.js';

let folder = '';
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-bad-paths-'));
  await writeChain(folder, 2);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

it('a pipe in the place of an archive is refused, and not waited for', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const { status, said } = await runWords([
    'combine',
    '-o',
    join(folder, 'all'),
    pipe,
    join(folder, '1.undo'),
  ]);
  expect([status, said.join()]).toEqual([
    2,
    expect.stringMatching(/pipe: no regular file: .*write it to a file$/),
  ]);
  expect(readdirSync(folder)).not.toContain('all');
});

it('a new archive in a folder that is not there is refused with what to do', async () => {
  const missing = join(folder, 'no');
  const archives = ['2.undo', '1.undo'].map((name) => join(folder, name));
  const combined = await runWords(['combine', '-o', join(missing, 'all'), ...archives]);
  expect([combined.status, combined.said.join()]).toEqual([
    8,
    expect.stringMatching(/no\/all: open failed: ENOENT: there is no such folder: make it first$/),
  ]);

  for (const [name, fill] of [
    ['old', 0],
    ['new', 1],
  ] as const)
    writeFileSync(join(folder, name), Buffer.alloc(65_536, fill));
  const words = ['--scan', join(folder, 'new'), join(folder, 'old'), '--state-dir', join(folder, 'state')];
  const sent = await runWords([...words, '--snapback', join(missing, 'undo')]);
  expect([sent.status, sent.said.join()]).toEqual([
    8,
    expect.stringMatching(/no: stat failed: ENOENT: there is no such folder: make it first/),
  ]);
});
