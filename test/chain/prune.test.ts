import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listArchives } from '../../src/chain/archive-folder.js';
import type { KeepRules } from '../../src/chain/keep-rules.js';
import { openUndo, undosOf } from '../../src/chain/states.js';
import { FormatError } from '../../src/errors.js';
import { pruneArchives } from '../../src/jobs/archive.js';
import { combine } from '../../src/jobs/combine.js';
import { archiveBytes, SECTOR, writeChain } from '../support/scenes/archives.js';
import { quietSurroundings } from '../support/surroundings.js';

let folder = '';
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-prune-'));
  await writeChain(folder, 4);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const inFolder = (name: string) => join(folder, name);

async function prune(rules: Partial<KeepRules>) {
  const all = { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, ...rules };
  return await pruneArchives(folder, { rules: all, dryRun: false }, quietSurroundings());
}

function names(): string[] {
  return readdirSync(folder)
    .filter((name) => !name.startsWith('.'))
    .sort();
}

it('a link to an archive is removed, and never the archive instead of it', async () => {
  symlinkSync('4.undo', inFolder('0-latest.undo'));
  const { freedBytes } = await prune({ last: 5 });
  expect(names()).toEqual(['1.undo', '2.undo', '3.undo', '4.undo']);
  expect(freedBytes).toBe(0);
});

it('of two archives that lead the same way, one stays', async () => {
  copyFileSync(inFolder('2.undo'), inFolder('again.undo'));
  await prune({ last: 5 });
  expect(names()).toEqual(['1.undo', '2.undo', '3.undo', '4.undo']);
});

it('an archive that replaces others is read first: if it is damaged, nothing is removed', async () => {
  const parts = ['3.undo', '2.undo', '1.undo'].map(inFolder);
  const whole = inFolder('3-1.undo');
  await combine(whole, parts, { codec: null, proto3: null }, quietSurroundings());
  const bytes = readFileSync(whole);
  const place = bytes.indexOf('sector 2');
  bytes[place] = (bytes[place] ?? 0) ^ 1;
  writeFileSync(whole, bytes);

  // the last state of January, and the oldest one
  await expect(prune({ monthly: 2 })).rejects.toThrow(FormatError);
  expect(names()).toEqual(['1.undo', '2.undo', '3-1.undo', '3.undo', '4.undo']);

  rmSync(whole);
  const { plans } = await prune({ monthly: 2 });
  expect(plans[0]?.kept).toEqual(['S3', 'S0']);
  expect(names()).toEqual([expect.stringMatching(/-combined-/), '4.undo']);
});

it('a prune frees what it can before it needs room for a new file', async () => {
  // S1 came to be in December: it stays, as S4 and S3 do, and what leads on from there goes
  const header = { kind: 'undo', base: 'S1', result: 'S0', time: '2025-12-01T12:00:00Z' } as const;
  const passes = [[{ at: 1, count: 1, kind: 'data', fill: 1 }]] as const;
  writeFileSync(inFolder('1.undo'), await archiveBytes(16 * SECTOR, { passes, indexed: true, header }));
  const seen: string[][] = [];
  const env = quietSurroundings();
  const progress = { ...env.progress, start: () => seen.push(names()) };
  const rules = { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 2 };
  await pruneArchives(folder, { rules, dryRun: false }, { ...env, progress });
  expect(seen).toEqual([['2.undo', '3.undo', '4.undo']]);
  expect(names()).toEqual([expect.stringMatching(/-combined-/), '4.undo']);
});

it('a prune does not take another file for the one that it planned with', async () => {
  const [latest] = undosOf(await listArchives(folder));
  if (latest === undefined) throw new Error('there is no archive');
  expect((await openUndo(latest)).base).toBe('S4');
  copyFileSync(inFolder('3.undo'), inFolder('4.undo'));
  await expect(openUndo(latest)).rejects.toThrow(
    /4\.undo: it leads from S3 to S2, but a moment ago it led from S4 to S3: try again/,
  );
});

it('an archive with an impossible time is given the time of its file', async () => {
  const header = { kind: 'undo', base: 'S5', result: 'S4', time: '2026-01-05T12:00:00+05' } as const;
  const passes = [[{ at: 5, count: 1, kind: 'data', fill: 5 }]] as const;
  writeFileSync(inFolder('5.undo'), await archiveBytes(16 * SECTOR, { passes, indexed: true, header }));
  const [latest] = undosOf(await listArchives(folder));
  expect(latest?.time).toBeGreaterThan(Date.parse('2026-01-05'));
});
