import { spawn } from 'node:child_process';
import path from 'node:path';
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

/** A Node other than the one that runs this, and the test files to run on it. */
export interface OtherNode {
  readonly version: string;
  /** Where its `node` lies, for PATH. */
  readonly folder: string;
  readonly files: readonly string[];
}

/** Runs one of vitest's projects on this machine. */
export async function runProject(
  project: string,
  reportFolder: string,
  other: OtherNode | null = null,
): Promise<Tally> {
  const version = other?.version ?? process.versions.node;
  const name = other === null ? project : `${project} on Node ${version}`;
  console.log(`\n== ${project} tests (Node ${version})`);
  const report = path.join(reportFolder, `${project}-${version}.json`);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const words = ['run', `--project=${project}`, ...reporters, ...(other?.files ?? [])];
  const { status } = await runProgram('vitest', words, 'shown', other?.folder);
  return tallyVitest(name, report, status);
}

/** Runs a program to its end; the words of one that cannot be started are its output. @param first first in its PATH */
export async function runProgram(
  program: string,
  words: readonly string[],
  output: 'shown' | 'collected',
  first?: string,
): Promise<{ status: number | null; output: string }> {
  const destination = output === 'shown' ? 'inherit' : 'pipe';
  const folders = [first, path.join(CHECKOUT, 'node_modules/.bin'), process.env['PATH']];
  const child = spawn(program, words, {
    cwd: CHECKOUT,
    env: { ...process.env, PATH: folders.filter((folder) => folder !== undefined).join(':') },
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

function stopwatch(): () => string {
  const start = performance.now();
  return () => ((performance.now() - start) / 1000).toFixed(1);
}
