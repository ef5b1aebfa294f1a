import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from '@commander-js/extra-typings';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { comparisonOf, withComparison } from '../../src/cli/options/source.js';
import { UsageError } from '../../src/errors.js';
import { runWords } from '../support/run-program.js';
import { makeStore } from '../support/synthetic-store.js';

function oldBytesOfWords(...words: readonly string[]) {
  const command = withComparison(new Command('test'))
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  return comparisonOf(command.parse(words, { from: 'user' }).opts());
}

describe('--block-size', () => {
  it.each([
    ['512', 512],
    ['4096', 4096],
    ['4K', 4096],
    ['64k', 65_536],
    ['1M', 1_048_576],
  ])('%s is %d bytes', (word, bytes) => {
    expect(oldBytesOfWords('--block-size', word)).toEqual({ proofs: true, blockSize: bytes });
  });

  it.each(['0', '256', '1000', '3K', '2M', '4KiB', '-4K', '4.0K', 'K', ''])('%s is refused', (word) => {
    expect(() => oldBytesOfWords('--block-size', word)).toThrow(/power of two from 512 to 1M/);
  });

  it('is refused where nothing is compared', () => {
    expect(() => oldBytesOfWords('--block-size', '4K', '--whole-chunks')).toThrow(UsageError);
    expect(oldBytesOfWords('--whole-chunks')).toEqual({ proofs: false });
    expect(oldBytesOfWords()).toEqual({ proofs: true });
  });
});

describe('a transfer', () => {
  const CHUNK = 65_536;
  const base = Buffer.alloc(4 * CHUNK, 'what was there before; ');
  const origin = Buffer.from(base).fill('new! ', 2 * CHUNK + 8192, 2 * CHUNK + 12_288);
  let folder = '';
  const at = (name: string) => join(folder, name);
  const sources = () => ['--cow', at('cow'), '--origin', at('origin')];
  const run = (...words: readonly string[]) => runWords([...words, '--state-dir', at('state')]);
  const target = () => readFileSync(at('target'));

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'lvmsync-old-bytes-'));
    // chunk 1 was rewritten as it was
    const exceptions = [{ oldChunk: 2 }, { oldChunk: 1 }];
    writeFileSync(at('cow'), makeStore({ chunkSectors: CHUNK / 512, exceptions, base }));
    writeFileSync(at('origin'), origin);
  });
  beforeEach(() => {
    rmSync(at('state'), { recursive: true, force: true });
    writeFileSync(at('target'), base);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  it('sends only what differs, in blocks of the chosen size', async () => {
    const { status, stdout } = await run('--json', ...sources(), at('target'));
    expect(status).toBe(0);
    const counts = { tableBytes: 2 * CHUNK, changedBytes: 4096, blocks: 1, mismatches: 0 };
    expect(JSON.parse(stdout.toString())).toMatchObject(counts);
    expect(target()).toBeBytes(origin);
    writeFileSync(at('target'), base);
    const coarse = await run('--json', '--block-size', '16K', ...sources(), at('target'));
    expect(JSON.parse(coarse.stdout.toString())).toMatchObject({ changedBytes: 16_384 });
    expect(target()).toBeBytes(origin);
  });

  it('sends everything that is listed with --whole-chunks, and to a Ruby lvmsync', async () => {
    const { stdout } = await run('--json', '--whole-chunks', ...sources(), at('target'));
    expect(JSON.parse(stdout.toString())).toMatchObject({ changedBytes: 2 * CHUNK });
    expect(target()).toBeBytes(origin);
    const ruby = await runWords([...sources(), '--stdout', '--protocol', '3']);
    expect(ruby.stdout.length).toBeGreaterThan(2 * CHUNK);
    expect(ruby.stdout.includes(origin.subarray(CHUNK, 3 * CHUNK))).toBe(true);
  });

  it('sends the whole piece to a target that holds something else and can ask for it', async () => {
    const other = Buffer.from(base).fill('someone', 2 * CHUNK, 2 * CHUNK + 512);
    const stream = (await runWords([...sources(), '--stdout'])).stdout;
    const apply = ['--apply', '-', at('target'), '--state-dir', at('state')];
    for (const words of [[], ['--force', 'base']]) {
      writeFileSync(at('target'), other);
      const piped = await runWords([...apply, ...words], stream);
      expect(piped.status).toBe(7);
      expect(piped.said.join('\n')).toMatch(new RegExp(`at byte ${CHUNK}: .*--whole-chunks`));
      expect(target()).toBeBytes(other);
    }
    const stopped = await run('--on-base-mismatch', 'stop', ...sources(), at('target'));
    expect(stopped.status).toBe(7);
    expect(target()).toBeBytes(other);
    const asked = await run('--json', ...sources(), at('target'));
    const suspect = expect.stringMatching(/someone wrote to it/) as string;
    expect(JSON.parse(asked.stdout.toString())).toMatchObject({ mismatches: 1, blocks: 2, suspect });
    expect(target()).toBeBytes(origin);
    expect(asked.status).toBe(11);
    expect(asked.said.join('\n')).toMatch(
      /someone wrote to it, or to the snapshot, .*: 1 of the replaced blocks .* neither the old bytes nor the new bytes; everything that was sent is correct on the target, but the rest of it may be wrong: "lvmsync --scan"/,
    );
    // A second time it is all there already, but nobody has looked at the rest.
    const again = await runWords(apply, stream);
    expect(again.status).toBe(11);
    expect(again.said.join('\n')).toMatch(/written to .*someone wrote to it/s);
    expect(target()).toBeBytes(origin);
    const forced = await runWords([...apply, '--force=base'], stream);
    expect(forced.status).toBe(0);
    const scan = ['--scan', at('origin'), at('target'), '--state-dir', at('state')];
    expect(await runWords(scan)).toMatchObject({ status: 0 });
    expect(await runWords(apply, stream)).toMatchObject({ status: 0 });
  });

  it('writes a target that holds something else with --force=base', async () => {
    writeFileSync(at('target'), Buffer.from(base).fill('someone', 2 * CHUNK, 2 * CHUNK + 512));
    const forced = await run('--force=base', ...sources(), at('target'));
    expect(forced.status).toBe(0);
    expect(forced.said.join('\n')).toMatch(/warning: .*: 1 block did not hold/);
    expect(target()).toBeBytes(origin);
  });

  it.each([
    [['--apply', '-', '/dev/x', '--block-size', '4K'], /--block-size cannot be used with --apply/],
    [['--apply', '-', '/dev/x', '--live'], /--live cannot be used with --apply/],
    [
      ['vg/s', '--stdout', '--protocol', '3', '--block-size', '4K'],
      /--block-size cannot be used with --protocol 3/,
    ],
    [['--scan', '/dev/y', '/dev/x', '--block-size', '4K'], /--block-size cannot be used with --scan/],
    ...[
      '--state-dir=/x',
      '--no-journal',
      '--force=base',
      '--on-base-mismatch=stop',
      '--retry=1',
      '--dry-run',
    ].map((word): [string[], RegExp] => [
      ['vg/s', 'h:/dev/x', '--protocol', '3', word],
      new RegExp(`^${word.replace(/=.*/, '')} cannot be used with --protocol 3$`),
    ]),
  ])('%j is refused', async (words, message) => {
    const { status, said } = await runWords(words);
    expect(status).toBe(2);
    expect(said.join('\n')).toMatch(message);
  });
});
