import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { startGuest } from '../guest/boot-guest.js';
import { addTallies, failure, tallyVitest, type Tally } from './tally.js';

const CHECKOUT = path.resolve(import.meta.dirname, '../../..');

/** The test files that run inside a guest, by their paths in the checkout. */
export function kernelTestFiles(): string[] {
  return testFilesBelow('test/kernel');
}

/** The test files that run on this machine and pull the plug on guests. */
export function crashTestFiles(): string[] {
  return testFilesBelow('test/crash');
}

function testFilesBelow(folder: string): string[] {
  return readdirSync(path.join(CHECKOUT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => path.join(folder, name));
}

export interface KernelRun {
  /** Where vitest's reports go; seen by host and guest alike. */
  readonly reportFolder: string;
  /** Words for vitest, such as file names and `-t PATTERN`. */
  readonly filters?: readonly string[];
  /** Guests at a time; as many as there are processors and files by default, but two at most. */
  readonly guests?: number;
}

/** Runs the vitest project `kernel` inside guests that share the test files among them. */
export async function runKernelSuite({ reportFolder, filters = [], guests }: KernelRun): Promise<Tally> {
  const shards = guests ?? Math.min(2, availableParallelism(), kernelTestFiles().length);
  const runs = Array.from({ length: shards }, async (_, index) => {
    const name = shards === 1 ? 'kernel' : `kernel ${index + 1}/${shards}`;
    const report = path.join(reportFolder, `kernel-${index + 1}.json`);
    const guest = startGuest({
      command: [process.execPath, ...vitestInGuest(report, `${index + 1}/${shards}`), ...filters],
      folder: CHECKOUT,
      disks: ['2G', '2G'],
      timeoutSeconds: 3600,
      environment: {
        ...{ CI: process.env['CI'] ?? '', FORCE_COLOR: process.stdout.isTTY ? '1' : '0' },
        ...passedOn('LVMSYNC_KILLS', 'LVMSYNC_SEED'),
      },
      onOutput: printByLines(shards === 1 ? '' : `[${index + 1}] `),
    });
    const { status, ended, console: lastWords } = await guest.finished;
    if (ended === 'finished') return tallyVitest(name, report, status);
    return failure(`${name}: the guest ${ended}; its console said:\n${lastWords.trim()}`);
  });
  return addTallies(await Promise.all(runs));
}

/** Those of this process's own variables that are set. */
function passedOn(...names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => ((value) => (value ? [[name, value]] : []))(process.env[name])),
  );
}

/** The guest sees the checkout read-write: neither a cache nor a compiled configuration goes there. */
function vitestInGuest(report: string, shard: string): string[] {
  return [
    ...['node_modules/vitest/vitest.mjs', 'run', '--project=kernel', `--shard=${shard}`],
    ...['--configLoader=runner', '--cache=false'],
    ...['--reporter=verbose', '--reporter=json', `--outputFile.json=${report}`],
  ];
}

/** Prints whole lines only, so that two guests can share a terminal. */
function printByLines(prefix: string): (stream: 'stdout' | 'stderr', piece: Buffer) => void {
  const rest = { stdout: '', stderr: '' };
  return (stream, piece) => {
    const lines = (rest[stream] + piece.toString()).split('\n');
    rest[stream] = lines.pop() ?? '';
    for (const line of lines) console.log(prefix + line);
  };
}
