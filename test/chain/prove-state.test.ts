import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { archiveBytes, SECTOR, type Write } from '../support/scenes/archives.js';
import { runWords } from '../support/run-program.js';

const SIZE = 64 * SECTOR;
let folder = '';
let target = '';
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-prove-state-'));
  target = join(folder, 'target');
  mkdirSync(join(folder, 'undos'));
  writeFileSync(target, Buffer.alloc(SIZE));
  // a first state that has a name, without which the undos that lead back to it have none
  const all: Write = { at: 0, count: SIZE / SECTOR, kind: 'data', fill: 0 };
  const full = { kind: 'full', base: null, result: 'S0' } as const;
  const stream = join(folder, 'stream');
  writeFileSync(stream, await archiveBytes(SIZE, { passes: [[all]], indexed: false, header: full }));
  expect((await run(['--apply', stream, target])).status).toBe(0);
  await apply('S0', 'S1', [
    { at: 4, count: 4, kind: 'data', fill: 1 },
    { at: 40, count: 4, kind: 'data', fill: 1 },
  ]);
  await apply('S1', 'S2', [{ at: 4, count: 2, kind: 'data', fill: 2 }]);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function run(words: readonly string[]) {
  return await runWords([...words, '--state-dir', join(folder, 'state')]);
}

async function apply(base: string, result: string, writes: readonly Write[]): Promise<void> {
  const stream = join(folder, 'stream');
  writeFileSync(
    stream,
    await archiveBytes(SIZE, { passes: [writes], indexed: false, header: { base, result } }),
  );
  const snapback = join(folder, 'undos', `${result}.undo`);
  expect((await run(['--apply', stream, target, '-b', snapback])).status).toBe(0);
}

/** Writes to the target behind lvmsync's back: its record no longer says what it holds. */
function overwrite(sector: number, contents: string): void {
  const bytes = readFileSync(target);
  bytes.fill(contents, sector * SECTOR, (sector + 1) * SECTOR);
  writeFileSync(target, bytes);
}

const restore = () => run(['restore', target, '--to', 'S1', '--from', join(folder, 'undos')]);

describe('a target whose state is not known', () => {
  it('is in none if it differs from an earlier state where nothing was written since', async () => {
    overwrite(41, 'someone wrote ');
    const { status, said } = await restore();
    expect([status, said.at(-1)]).toEqual([7, expect.stringContaining('be in a state that an archive in')]);
    expect(readFileSync(target).includes('sector 4 of 2')).toBe(true);
  });

  it('is in the latest state that all of it proves', async () => {
    overwrite(60, 'of which no archive says anything ');
    const { status, said } = await restore();
    expect([status, said.at(-1)]).toEqual([0, expect.stringContaining('taken back to S1')]);
    expect(readFileSync(target).includes('sector 4 of 1')).toBe(true);
  });
});
