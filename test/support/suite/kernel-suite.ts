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

/** Seconds of those that are not as long as most, roughly, beside another guest: so that guests end at about the same time. */
export const KNOWN_SECONDS: Readonly<Record<string, number>> = {
  'interrupted.test.ts': 150,
  'cut-short.test.ts': 130,
  'verify.test.ts': 120,
  'scan.test.ts': 100,
  'snapback.test.ts': 95,
  'thin.test.ts': 95,
  'copy.test.ts': 90,
  'restricted.test.ts': 90,
  'delta.test.ts': 85,
  'resume.test.ts': 85,
  'ssh.test.ts': 85,
  'ssh-login.test.ts': 85,
  'local-sync.test.ts': 75,
  'traps.test.ts': 75,
  'view.test.ts': 75,
  'pipe.test.ts': 70,
  'thin-refused.test.ts': 70,
  'live-origin.test.ts': 70,
  'room.test.ts': 60,
  'far-side.test.ts': 55,
  'instant.test.ts': 50,
  'archive.test.ts': 45,
  'refused-snapshots.test.ts': 40,
  'guard.test.ts': 10,
  'lab.test.ts': 5,
  'state-record.test.ts': 5,
};
const USUAL = 30;

/** How long a test file takes, roughly. */
export function secondsOf(file: string): number {
  return KNOWN_SECONDS[path.basename(file)] ?? USUAL;
}

/** Deals the test files to so many guests, each to the one that has least to do, the longest first. */
export function dealFiles(files: readonly string[], guests: number): string[][] {
  const hands = Array.from({ length: guests }, () => ({ seconds: 0, files: [] as string[] }));
  for (const file of [...files].sort((a, b) => secondsOf(b) - secondsOf(a))) {
    const hand = hands.reduce((least, each) => (each.seconds < least.seconds ? each : least));
    hand.seconds += secondsOf(file);
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
      timeoutSeconds: 3600,
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
