import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';
import { makeStore } from '../support/synthetic-store.js';

const CHUNK = 65_536;
const base = Buffer.alloc(32 * CHUNK, 'what was there before; ');
const origin = Buffer.from(base).fill('new! ', 2 * CHUNK, 3 * CHUNK);

let folder = '';
const at = (name: string) => join(folder, name);
const sources = () => ['--cow', at('cow'), '--origin', at('origin')];
const doctor = (...words: readonly string[]) =>
  runWords(['doctor', at('target'), '--state-dir', at('state'), ...words]);

async function run(...words: readonly string[]) {
  const { status, stdout, said } = await runWords([...words, '--state-dir', at('state')]);
  return { status, stdout: stdout.toString(), said: said.join('\n') };
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-audit-words-'));
  writeFileSync(at('cow'), makeStore({ chunkSectors: CHUNK / 512, exceptions: [{ oldChunk: 2 }], base }));
  writeFileSync(at('origin'), origin);
  writeFileSync(at('target'), base);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe('--audit', () => {
  it.each([
    [['--apply', '-', 'TARGET'], /a stream in a file or pipe holds only what changed/],
    [['SOURCE', '--stdout'], /a pipe cannot give any/],
    [['SOURCE', '--protocol', '3', 'host:/dev/t'], /a Ruby lvmsync cannot give any/],
    [['--scan', 'SOURCE', 'TARGET'], /--scan compares everything/],
    [['--whole-chunks', 'SOURCE', 'TARGET'], /--whole-chunks, which proves nothing/],
    [['--dry-run', 'SOURCE', 'TARGET'], /--dry-run, which writes no record/],
  ])('is refused with %s', async (words, message) => {
    expect(await run('--audit', '5', ...words)).toMatchObject({
      status: 2,
      said: expect.stringMatching(message) as string,
    });
  });

  it.each(['0', '101', '5%', '-1'])('does not accept %s', async (percent) => {
    expect((await run(`--audit=${percent}`, 'SOURCE', 'TARGET')).status).toBe(2);
  });
});

describe('the doctor, of a target,', () => {
  it('knows nothing before the first run, which is a warning', async () => {
    const { status, stdout } = await doctor();
    expect(status).toBe(0);
    expect(stdout.toString()).toMatch(/warning {2}state: not known: \S+ has no record of what it holds/);
  });

  it('shows what audits of half and of all of it proved', async () => {
    const half = await run('--json', '--audit', '50', ...sources(), at('target'));
    expect(half.status).toBe(0);
    expect(JSON.parse(half.stdout)).toMatchObject({ verified: { bytes: 16 * CHUNK, share: 0.5 } });
    expect((await doctor()).stdout.toString()).toMatch(/no more than believed: [^]*proved: 50.0 % of it/);
    const all = await run('--audit', '100', ...sources(), at('target'));
    expect(all).toMatchObject({
      status: 0,
      said: expect.stringMatching(/target: all of it has been proved since 2026-01-02 03:04 UTC/) as string,
    });
    expect(readFileSync(at('target'))).toBeBytes(origin);
    const { status, stdout } = await doctor('--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      target: at('target'),
      state: { is: 'exactly' },
      believed: null,
      by: expect.stringMatching(/^changes from .*cow of test-host$/) as string,
      verified: { bytes: 32 * CHUNK, share: 1, since: '2026-01-02T03:04:05.000Z' },
    });
  });

  it('knows when someone wrote since, and changes nothing', async () => {
    utimesSync(at('target'), 1, 1);
    for (let look = 0; look < 2; look++) {
      expect((await doctor()).stdout.toString()).toMatch(/warning {2}state: not known: someone wrote to it/);
    }
  });

  it.each([
    ['host:/dev/vg/vm', '/dev/vg/vm'],
    ['host:vm', 'vm'],
    ['ssh://host:22/dev/vg/vm', '/dev/vg/vm'],
  ])('runs on the host of the target: %s', async (word, path) => {
    expect(await runWords(['doctor', word])).toMatchObject({
      status: 2,
      said: [expect.stringContaining(`run "lvmsync doctor ${path}" on host`) as string],
    });
  });

  it('does not wait for a FIFO, and says what is not a directory', async () => {
    execFileSync('mkfifo', [at('fifo')]);
    const words = ['doctor', at('target'), '--state-dir', at('fifo')];
    const { status, stdout } = await runWords(words);
    expect([status, stdout.toString()]).toEqual([
      12,
      expect.stringContaining(`problem  state directory: ${at('fifo')} is not a directory`),
    ]);
    const [key = ''] = readdirSync(at('state/targets'));
    const record = at(`state/targets/${key}/state.json`);
    rmSync(record);
    execFileSync('mkfifo', [record]);
    expect(await doctor()).toMatchObject({
      status: 8,
      said: [expect.stringMatching(/state\.json: read failed: it is not a regular file/)],
    });
  });

  it('accepts a state directory only with a TARGET', async () => {
    expect(await runWords(['doctor', '--state-dir', at('state')])).toMatchObject({ status: 2 });
  });
});
