import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';
import { archiveBytes, SECTOR, type Write } from '../support/scenes/archives.js';

it.each([
  '2026-02-30',
  '2026-04-31T10:00',
  '2026-02-29 10:00:00Z',
  '2026-13-01',
  '2026-01-02T25:00',
  '0000-00-00',
])('refuses %s as a time, instead of using another one', async (goal) => {
  const { status, said } = await runWords(['restore', '/dev/vg/vm', '--to', goal, '--from', '/undo']);
  expect([status, said.join()]).toEqual([2, expect.stringContaining(`--to ${goal}: not a valid time`)]);
});

it.each(['2024-02-29', '2026-01-31T23:59', '2026-01-01T00:00:00-11:00', '2026-12-31 24:00'])(
  'understands the time %s',
  async (goal) => {
    const { status, said } = await runWords(['restore', '/dev/vg/vm', '--to', goal, '--from', '/nowhere']);
    // the folder is what it stops at
    expect([status, said.join()]).toEqual([8, expect.stringContaining('/nowhere')]);
  },
);

it('goes back through each of two transfers from the same base', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lvmsync-restore-'));
  const [target, undos, stateDir] = [join(folder, 'target'), join(folder, 'undos'), join(folder, 'state')];
  mkdirSync(undos);
  writeFileSync(target, Buffer.alloc(64 * SECTOR));
  const run = (words: readonly string[], input?: Buffer) =>
    runWords([...words, target, '--state-dir', stateDir], input);
  const apply = async (base: string | null, result: string, write: Write) => {
    const table = { id: 'T', entries: write.count };
    const header = { kind: base === null ? 'full' : 'changes', base, result, table } as const;
    const stream = await archiveBytes(64 * SECTOR, { passes: [[write]], indexed: false, header });
    const snapback = base === null ? [] : ['-b', join(undos, `${result}.undo`)];
    expect((await run(['--apply', '-', ...snapback], stream)).status).toBe(0);
    return readFileSync(target);
  };
  const a = await apply(null, 'A', { at: 0, count: 64, kind: 'data', fill: 1 });
  const b = await apply('A', 'B', { at: 8, count: 8, kind: 'data', fill: 2 });
  await apply('A', 'C', { at: 4, count: 16, kind: 'data', fill: 3 });
  for (const [name, contents] of [
    ['B', b],
    ['A', a],
  ] as const) {
    const { status, said } = await run(['restore', '--to', name, '--from', undos]);
    expect([status, said.at(-1)]).toEqual([0, expect.stringContaining(`taken back to ${name}`)]);
    expect(readFileSync(target)).toBeBytes(contents);
  }
  rmSync(folder, { recursive: true });
});
