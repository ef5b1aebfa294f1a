import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from '@commander-js/extra-typings';
import { describe, expect, it } from 'vitest';
import { trafficOf, withTraffic } from '../../src/cli/options/traffic.js';
import { runWords } from '../support/run-program.js';
import { makeStore } from '../support/synthetic-store.js';

function trafficOfWords(words: readonly string[], isPipe = false) {
  const command = withTraffic(new Command('test'))
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  return trafficOf(command.parse(words, { from: 'user' }).opts(), isPipe);
}

describe('--bwlimit', () => {
  it.each([
    ['500K', 512_000],
    ['500k', 512_000],
    ['20M', 20 * 1024 ** 2],
    ['20MiB', 20 * 1024 ** 2],
    ['20MB', 20_000_000],
    ['1.5G', 1.5 * 1024 ** 3],
    ['1K', 1024],
    ['1500000B', 1_500_000],
    ['2M/s', 2 * 1024 ** 2],
  ])('%s is %d bytes a second', (word, bytes) => {
    expect(trafficOfWords(['--bwlimit', word])).toMatchObject({ bytesPerSecond: bytes });
  });

  it.each([
    '20',
    '1000000',
    '20Mb',
    '20Mbit',
    '20mib',
    'M',
    '-5M',
    '1,5M',
    '0',
    '0K',
    '0.5K',
    '9999999T',
    '',
  ])('%s is refused: it is ambiguous, or no one means it', (word) => {
    expect(() => trafficOfWords(['--bwlimit', word])).toThrow(/--bwlimit/);
  });
});

describe('--codec', () => {
  it.each([
    ['zstd', { kind: 'codec', name: 'zstd', level: null }],
    ['zstd:19', { kind: 'codec', name: 'zstd', level: 19 }],
    ['brotli:0', { kind: 'codec', name: 'brotli', level: 0 }],
    ['none', { kind: 'none' }],
  ])('%s is understood', (word, compression) => {
    expect(trafficOfWords(['--codec', word])).toEqual({ compression });
    expect(trafficOfWords(['--compress', '--codec', word], true)).toEqual({ compression });
  });

  it.each([
    ['gzip', /Expected zstd, brotli, zlib or none/],
    ['zstd:0', /level of zstd must be from 1 to 19/],
    ['zstd:20', /level of zstd/],
    ['zlib:', /level of zlib/],
    ['zlib:3:4', /level of zlib/],
    ['none:3', /Expected zstd/],
    ['', /Expected zstd/],
  ])('%s is refused', (word, message) => {
    expect(() => trafficOfWords(['--codec', word])).toThrow(message);
  });
});

describe('a transfer', () => {
  it('compresses a pipe as told, and no faster than allowed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lvmsync-traffic-'));
    const at = (name: string) => join(folder, name);
    try {
      const base = Buffer.alloc(160 * 1024, 'base ');
      const origin = Buffer.from(base).fill('new! ', 3 * 4096, 7 * 4096);
      const exceptions = [3, 4, 5, 6].map((oldChunk) => ({ oldChunk }));
      writeFileSync(at('cow'), makeStore({ chunkSectors: 8, exceptions, base }));
      writeFileSync(at('origin'), origin);
      writeFileSync(at('target'), base);
      const sources = ['--cow', at('cow'), '--origin', at('origin'), '--stdout'];
      const plain = await runWords(sources);
      const started = performance.now();
      const packed = await runWords([...sources, '--codec', 'zlib:9', '--bwlimit', '4K']);
      expect(packed.status).toBe(0);
      expect(performance.now() - started).toBeGreaterThan((1000 * packed.stdout.length) / 4096 - 300);
      expect(packed.stdout.length).toBeLessThan(plain.stdout.length - 3 * 4096);

      const words = ['--apply', '-', at('target'), '--state-dir', at('state')];
      expect(await runWords(words, packed.stdout)).toMatchObject({ status: 0 });
      expect(readFileSync(at('target'))).toBeBytes(origin);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each([
    [['--stdout', 'vg/s', '--compress'], /--compress cannot be used with --stdout: .*choose one/],
    [['--stdout', 'vg/s', '--protocol', '3', '--codec', 'zlib'], /--codec cannot be used with --protocol 3/],
    [['--apply', '-', '/dev/x', '--bwlimit', '1M'], /--bwlimit cannot be used with --apply/],
    [['vg/s', 'h:/dev/x', '--bwlimit', '20'], /--bwlimit.*Expected a number with a unit/],
  ])('%j is refused', async (words, message) => {
    const { status, said } = await runWords(words);
    expect(status).toBe(2);
    expect(said.join('\n')).toMatch(message);
  });
});
