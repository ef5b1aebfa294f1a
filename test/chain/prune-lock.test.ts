import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listArchives, keepingArchives, lockArchives } from '../../src/chain/archive-folder.js';
import { undosOf } from '../../src/chain/states.js';
import { LockedError } from '../../src/errors.js';
import { pruneArchives } from '../../src/jobs/archive.js';
import { runWords } from '../support/run-program.js';
import { SECTOR, writeChain } from '../support/scenes/archives.js';
import { quietSurroundings } from '../support/surroundings.js';

const RULES = { last: 2, hourly: 0, daily: 0, weekly: 0, monthly: 0 };
const UNDOS = 4;
/** What a prune makes of the undos above: from the latest state to the one before it, and no further. */
const LEFT = ['4.undo', '3.undo'];

let folder = '';
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-prune-lock-'));
  await writeChain(folder, UNDOS);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function prune() {
  return pruneArchives(folder, { rules: RULES, dryRun: false }, quietSurroundings());
}

function archives(): string[] {
  return readdirSync(folder).filter((name) => name.endsWith('.undo'));
}

it('of two prunes at once, one is refused, and everything that is kept is there', async () => {
  const outcomes = await Promise.allSettled([prune(), prune()]);
  const refusals = outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
  expect(refusals).toEqual([expect.any(LockedError)]);
  expect(archives().sort()).toEqual([...LEFT].sort());
});

it('a second prune names the first, touches nothing, and may still be planned', async () => {
  const lock = await lockArchives(folder, 'archive prune it', quietSurroundings());
  const words = ['archive', 'prune', '--keep-last', '2', folder];
  const { status, said } = await runWords(words);
  expect([status, said.join()]).toEqual([
    13,
    expect.stringMatching(/what is in .* is locked by process \d+ \(archive prune it\), since .*: wait/),
  ]);
  expect(archives()).toHaveLength(UNDOS);
  expect((await runWords([...words, '--dry-run'])).status).toBe(0);
  await lock.release();
  expect((await runWords(words)).status).toBe(0);
  expect(archives()).toHaveLength(LEFT.length);
});

it.each(['.lvmsync-prune.json', '.lvmsync-prune.json.new'])(
  'a prune follows no link that someone has put in its way: %s',
  async (name) => {
    const precious = join(folder, 'precious');
    writeFileSync(precious, 'precious');
    symlinkSync(precious, join(folder, name));
    await prune();
    expect(readFileSync(precious, 'utf8')).toBe('precious');
    expect(archives().sort()).toEqual([...LEFT].sort());
  },
);

it.runIf(process.getuid?.() === 0)(
  'a prune does not trust another user’s notes about an earlier prune',
  async () => {
    const note = join(folder, '.lvmsync-prune.json');
    const [undo] = undosOf(await listArchives(folder));
    const removing = [{ name: undo?.archive.name, base: undo?.base, result: undo?.result }];
    writeFileSync(note, JSON.stringify({ removing }));
    chownSync(note, 65_534, 65_534);
    await expect(prune()).rejects.toThrow(/prune\.json: .* is owned by user 65534, not by you or root/);
    expect(archives()).toHaveLength(UNDOS);
  },
);

it('a restore and a prune never run at the same time, and neither waits for the other', async () => {
  const target = join(folder, 'target');
  writeFileSync(target, Buffer.alloc(16 * SECTOR));
  const lock = await lockArchives(folder, 'archive prune it', quietSurroundings());
  const words = ['restore', target, '--to', 'S1', '--from', folder, '--force=base'];
  const refused = await runWords([...words, '--state-dir', join(folder, 'state')]);
  expect([refused.status, refused.said.join()]).toEqual([13, expect.stringMatching(/archive prune it/)]);
  await lock.release();

  await keepingArchives(folder, async () => {
    // two restores are no trouble for each other
    await keepingArchives(folder, () => Promise.resolve());
    await expect(prune()).rejects.toThrow(
      /is locked by a restore or a check that reads them, or a prune that has/,
    );
  });
  expect(archives()).toHaveLength(UNDOS);
  await prune();
  expect(archives()).toHaveLength(LEFT.length);
});

it('a check does not read a folder that is being pruned, because files may disappear', async () => {
  const lock = await lockArchives(folder, 'archive prune it', quietSurroundings());
  const { status, said } = await runWords(['archive', 'check', folder]);
  expect([status, said.join()]).toEqual([13, expect.stringMatching(/archive prune it/)]);
  await lock.release();
  expect((await runWords(['archive', 'check', folder])).status).toBe(0);
});

it('a killed prune blocks no other run, and the next prune removes what it was writing', async () => {
  const module = pathToFileURL(resolve(import.meta.dirname, '../../src/chain/archive-folder.ts')).href;
  const script = `
    const { lockArchives } = await import('${module}');
    await lockArchives(${JSON.stringify(folder)}, 'archive prune it', { now: () => new Date() });
    console.log('locked');
    setInterval(() => undefined, 1000);`;
  const argv = ['--import', 'tsx', '--input-type=module', '-e', script];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  await expect(prune()).rejects.toThrow(new RegExp(`process ${child.pid ?? 0} `));
  child.kill('SIGKILL');
  await once(child, 'exit');

  const unfinished = '.20260102T120000Z-combined-0123456789ab.undo.0123456789abcdef.new';
  const another = '.mine.undo.0123456789abcdef.new';
  for (const name of [unfinished, another]) writeFileSync(join(folder, name), 'half');
  await keepingArchives(folder, () => Promise.resolve());
  await prune();
  expect(archives()).toHaveLength(LEFT.length);
  // somebody may be writing that one
  expect(readdirSync(folder)).toContain(another);
  expect(readdirSync(folder)).not.toContain(unfinished);
});

it('if the lock is a link, a prune is refused, and a restore runs without a lock', async () => {
  const precious = join(folder, 'precious');
  writeFileSync(precious, 'precious');
  symlinkSync(precious, join(folder, '.lvmsync-prune.lock'));
  await expect(prune()).rejects.toThrow(/open failed: ELOOP/);
  expect(await keepingArchives(folder, () => Promise.resolve('done'))).toBe('done');
  expect(readFileSync(precious, 'utf8')).toBe('precious');
});

it('a lock is not made in a folder that does not exist', async () => {
  await expect(
    pruneArchives(join(folder, 'no'), { rules: RULES, dryRun: false }, quietSurroundings()),
  ).rejects.toThrow(/no\/\.lvmsync-prune\.lock: open failed: ENOENT/);
  await expect(keepingArchives(join(folder, 'no'), () => Promise.resolve('done'))).resolves.toBe('done');
  expect(readdirSync(folder)).not.toContain('no');
});
