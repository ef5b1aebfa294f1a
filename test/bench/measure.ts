import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';

const RECORDER = path.join(import.meta.dirname, 'report-memory.js');

/** One run of a program. */
export interface Run {
  readonly seconds: number;
  readonly stdout: string;
}

/** Runs a program to its end and takes its time, from before its start to its exit. Throws where it fails. */
export async function timeRun(
  argv: readonly [string, ...string[]],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Run> {
  const [command, ...words] = argv;
  const started = performance.now();
  const child = spawn(command, words, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
  child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const seconds = (performance.now() - started) / 1000;
  if (status !== 0) {
    throw new Error(
      `${argv.join(' ')}: status ${status ?? 'none'}: ${Buffer.concat(stderr).toString().trim()}`,
    );
  }
  return { seconds, stdout: Buffer.concat(stdout).toString() };
}

/** The words that run a script with this Node so that its peak memory and processor time are written to $BENCH_MEMORY_FILE. */
export function recordedNode(script: string): [string, ...string[]] {
  return [process.execPath, '--import', RECORDER, script];
}

/** What a recorded process wrote. Bytes. */
export function readPeakMemory(file: string): number {
  return readUsage(file)[0];
}

/** What a recorded process wrote: the seconds that it kept a processor busy. */
export function readProcessorTime(file: string): number {
  return readUsage(file)[1];
}

function readUsage(file: string): [number, number] {
  const [memory = '', time = ''] = readFileSync(file, 'latin1').split(' ');
  return [Number(memory), Number(time)];
}

/** Something measured several times: the middle, and how far it spread. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    least: at(0),
    most: at(sorted.length - 1),
  };
}

/**
 * Runs rivals in turn, round after round, so that whatever else the machine does meets all of them alike; who
 * begins changes from round to round. A first round that nobody counts warms up caches and allocates files.
 */
export async function runInTurns<Name extends string>(
  rivals: Readonly<Record<Name, () => Promise<number>>>,
  rounds: number,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(rivals) as Name[];
  const seconds = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = 0; round <= rounds; round++) {
    const first = round % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      const taken = await rivals[name]();
      if (round > 0) seconds[name].push(taken);
    }
  }
  return seconds;
}

/** How fast `ours` was compared with `theirs`, pair by pair: above 1 is faster. */
export function speedRatios(ours: readonly number[], theirs: readonly number[]): Spread {
  return spreadOf(ours.map((seconds, round) => (theirs[round] ?? NaN) / seconds));
}
