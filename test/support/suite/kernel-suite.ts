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

/** Seconds of the long ones in an otherwise idle guest, roughly: so that guests end at about the same time. */
export const LONG_FILES: Readonly<Record<string, number>> = {
  'cut-short.test.ts': 120,
  'verify.test.ts': 115,
  'copy.test.ts': 110,
  'interrupted.test.ts': 110,
  'thin.test.ts': 100,
  'resume.test.ts': 90,
  'ssh.test.ts': 80,
  'delta.test.ts': 80,
  'restricted.test.ts': 80,
  'ssh-login.test.ts': 70,
  'view.test.ts': 70,
  'scan.test.ts': 65,
  'local-sync.test.ts': 65,
  'live-origin.test.ts': 60,
  'traps.test.ts': 60,
  'snapback.test.ts': 50,
  'thin-refused.test.ts': 90,
  'thin-tools.test.ts': 45,
};
const USUAL = 30;

/** Deals the test files to so many guests, each to the one that has least to do, the longest first. */
export function dealFiles(files: readonly string[], guests: number): string[][] {
  const hands = Array.from({ length: guests }, () => ({ seconds: 0, files: [] as string[] }));
  const lengthOf = (file: string): number => LONG_FILES[path.basename(file)] ?? USUAL;
  for (const file of [...files].sort((a, b) => lengthOf(b) - lengthOf(a))) {
    const hand = hands.reduce((least, each) => (each.seconds < least.seconds ? each : least));
    hand.seconds += lengthOf(file);
    hand.files.push(file);
  }
  return hands.map((hand) => hand.files);
}

export interface KernelRun {
  /** Where vitest's reports go; seen by host and guest alike. */
  readonly reportFolder: string;
  /** Words for vitest, such as file names and `-t PATTERN`, for one guest; without them all files run, in two. */
  readonly filters?: readonly string[];
}

/** Runs the vitest project `kernel` inside guests that share the test files among them. */
export async function runKernelSuite({ reportFolder, filters }: KernelRun): Promise<Tally> {
  const hands =
    filters === undefined ? dealFiles(kernelTestFiles(), Math.min(2, availableParallelism())) : [filters];
  const runs = hands.map(async (words, index) => {
    const name = hands.length === 1 ? 'kernel' : `kernel ${index + 1}/${hands.length}`;
    const report = path.join(reportFolder, `kernel-${index + 1}.json`);
    const guest = startGuest({
      command: [process.execPath, ...vitestInGuest(report), ...words],
      folder: CHECKOUT,
      disks: ['2G', '2G'],
      timeoutSeconds: 4 * 3600,
      environment: {
        ...{ CI: process.env['CI'] ?? '', FORCE_COLOR: process.stdout.isTTY ? '1' : '0' },
        ...passedOn('LVMSYNC_KILLS', 'LVMSYNC_SEED'),
      },
      onOutput: printByLines(hands.length === 1 ? '' : `[${index + 1}] `),
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
function vitestInGuest(report: string): string[] {
  return [
    ...['node_modules/vitest/vitest.mjs', 'run', '--project=kernel'],
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
