import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';
import { writeChain } from '../support/scenes/archives.js';

let folder = '';
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-bad-paths-'));
  await writeChain(folder, 2);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

it('a pipe instead of an archive is refused, and not waited for', async () => {
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
    expect.stringMatching(/pipe: not a regular file: .*write it to a file$/),
  ]);
  expect(readdirSync(folder)).not.toContain('all');
});

it('a new archive in a missing folder is refused, with what to do', async () => {
  const missing = join(folder, 'no');
  const archives = ['2.undo', '1.undo'].map((name) => join(folder, name));
  const combined = await runWords(['combine', '-o', join(missing, 'all'), ...archives]);
  expect([combined.status, combined.said.join()]).toEqual([
    8,
    expect.stringMatching(/no\/all: open failed: ENOENT: no such directory: create it first$/),
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
    expect.stringMatching(/no: stat failed: ENOENT: no such directory: create it first/),
  ]);
});

it('a check continues after a file that cannot be read, and its exit status is that of the worst problem', async () => {
  // the kernel gives EIO for it, as a failing disk does
  symlinkSync('/proc/self/mem', join(folder, '0.undo'));
  writeFileSync(join(folder, '3.undo'), readFileSync(join(folder, '1.undo')).subarray(0, -40));
  const { status, stdout } = await runWords(['archive', 'check', folder]);
  expect(status).toBe(8);
  const lines = stdout.toString().trim().split('\n');
  expect(lines).toHaveLength(4);
  expect(lines).toContainEqual(expect.stringMatching(/^BAD .*0\.undo: read at byte 0 failed: EIO/));
  expect(lines).toContainEqual(expect.stringMatching(/^BAD .*3\.undo: cut short/));
  expect(lines).toEqual(expect.arrayContaining(['ok  1.undo', 'ok  2.undo']));
  const json = await runWords(['archive', 'check', '--json', folder]);
  expect(json.status).toBe(8);
  const { archives } = JSON.parse(json.stdout.toString()) as {
    archives: readonly { problem: string | null }[];
  };
  expect(archives.filter(({ problem }) => problem === null)).toHaveLength(2);
});
