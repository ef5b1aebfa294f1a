import { spawn } from 'node:child_process';
import path from 'node:path';
import { REPORT_VARIABLE } from './record-results.js';
import { EMPTY, failure, tallyVitest, type Tally } from './tally.js';

const CHECKOUT = path.resolve(import.meta.dirname, '../../..');

/** A check that passes or fails as a whole: a program of node_modules/.bin, or npm, and its arguments. */
export interface Step {
  readonly name: string;
  readonly program: string;
  readonly words: readonly string[];
}

export const BUILD: Step = { name: 'build', program: 'npm', words: ['run', '--silent', 'build'] };

/** What did not change since it was last found good is not looked at again, but by the linter, whose rules see types. */
const CACHE = 'node_modules/.cache/lvmsync';

export const STATIC_CHECKS: readonly Step[] = [
  {
    name: 'format',
    program: 'prettier',
    words: ['--check', '--log-level=warn', '--cache', `--cache-location=${CACHE}/prettier`, '.'],
  },
  { name: 'lint', program: 'eslint', words: ['.'] },
  {
    name: 'types',
    program: 'tsc',
    words: ['--noEmit', '--incremental', '--tsBuildInfoFile', `${CACHE}/types.tsbuildinfo`],
  },
];

/** Runs one step; a good one is silent and counts nothing, as it is no test. */
export async function runStep({ name, program, words }: Step): Promise<Tally> {
  const seconds = stopwatch();
  const { status, output } = await runProgram(program, words, 'collected');
  console.log(`== ${name}: ${status === 0 ? 'ok' : 'FAILED'} (${seconds()} s)`);
  if (status === 0) return EMPTY;
  console.log(output);
  return failure(`the step "${name}" (${program} ${words.join(' ')})`);
}

/** Runs one of vitest's projects on this machine, or those of its files that are named. */
export async function runProject(
  project: string,
  report: string,
  files: readonly string[] = [],
): Promise<Tally> {
  console.log(`\n== ${project} tests`);
  const reporters = ['--reporter=default', '--reporter=./test/support/suite/record-results.ts'];
  const words = ['run', `--project=${project}`, ...reporters, ...files];
  const { status } = await runProgram('vitest', words, 'shown', { [REPORT_VARIABLE]: report });
  return tallyVitest(project, report, status);
}

async function runProgram(
  program: string,
  words: readonly string[],
  output: 'shown' | 'collected',
  variables: Readonly<Record<string, string>> = {},
): Promise<{ status: number | null; output: string }> {
  const destination = output === 'shown' ? 'inherit' : 'pipe';
  const ours = path.join(CHECKOUT, 'node_modules/.bin');
  const child = spawn(program, words, {
    cwd: CHECKOUT,
    env: { ...process.env, ...variables, PATH: `${ours}:${process.env['PATH'] ?? ''}` },
    stdio: ['ignore', destination, destination],
  });
  const pieces: Buffer[] = [];
  child.stdout?.on('data', (piece: Buffer) => pieces.push(piece));
  child.stderr?.on('data', (piece: Buffer) => pieces.push(piece));
  const status = await new Promise<number | null>((resolve) => {
    child.once('error', (error) => {
      pieces.push(Buffer.from(error.message));
      resolve(null);
    });
    child.once('close', resolve);
  });
  return { status, output: Buffer.concat(pieces).toString() };
}

/** Tells the seconds since it was made. */
export function stopwatch(): () => string {
  const start = performance.now();
  return () => ((performance.now() - start) / 1000).toFixed(1);
}
