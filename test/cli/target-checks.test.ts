import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';
import { makeStore } from '../support/synthetic-store.js';

const CHUNK = 4096;
const VOLUME = 8 * CHUNK;
const base = Buffer.alloc(VOLUME, 'base ');

let folder = '';
const at = (name: string) => join(folder, name);
const sources = () => ['--cow', at('cow'), '--origin', at('origin')];
const run = (words: readonly string[], input?: Buffer) =>
  runWords([...words, '--state-dir', at('state')], input);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-checks-'));
  writeFileSync(at('origin'), Buffer.from(base).fill('new! ', CHUNK, 2 * CHUNK));
  writeFileSync(at('cow'), makeStore({ chunkSectors: 8, exceptions: [{ oldChunk: 1 }], base }));
  writeFileSync(at('target'), base);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

it('says only once that a target is larger, whatever writes it', async () => {
  writeFileSync(at('target'), Buffer.concat([base, Buffer.alloc(1000, 'rest')]));
  const { stdout } = await run([...sources(), '--stdout']);
  const sizes = `it has ${VOLUME + 1000} bytes, the volume has ${VOLUME}`;
  const line = `${at('target')} is larger than the volume: ${sizes}; the bytes after that stay as they are`;
  for (const words of [
    [...sources(), at('target'), '--dry-run'],
    [...sources(), at('target')],
    ['--apply', '-', at('target')],
  ]) {
    const { status, said } = await run(words, stdout);
    expect([status, said.filter((each) => each.includes('is larger than'))]).toEqual([0, [line]]);
  }
  expect(readFileSync(at('target')).subarray(VOLUME)).toBeBytes(Buffer.alloc(1000, 'rest'));
});

it('checks the names of a snapback in a dry run as well', async () => {
  for (const name of ['there', 'begun.partial']) writeFileSync(at(name), 'precious');
  for (const name of ['there', 'begun']) {
    for (const dry of [[], ['--dry-run']]) {
      const { status, said } = await run([...sources(), at('target'), '-b', at(name), ...dry]);
      expect([status, said.join()]).toEqual([
        2,
        expect.stringMatching(/it already exists|an unfinished snapback/),
      ]);
    }
  }
  expect((await run([...sources(), at('target'), '-b', at('free'), '--dry-run'])).status).toBe(0);
  expect(readFileSync(at('target'))).toBeBytes(base);
});
