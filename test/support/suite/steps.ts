import { spawn } from 'node:child_process';
import path from 'node:path';
import { REPORT_VARIABLE } from './record-results.js';
import { endedFiles, readReport, type FileEnded } from './report-lines.js';
import { addTallies, EMPTY, failure, tallyVitest, type Tally } from './tally.js';

const CHECKOUT = path.resolve(import.meta.dirname, '../../..');

/** A check that passes or fails as a whole: a program of node_modules/.bin, or npm, and its arguments. */
export interface Step {
  readonly name: string;
  readonly program: string;
  readonly words: readonly string[];
}

export const BUILD: Step = { name: 'build', program: 'npm', words: ['run', '--silent', 'build'] };

/** What did not change since it was last found good is not looked at again, but for the linter, whose rules see types. */
const CACHE = 'node_modules/.cache/lvmsync';

export const STATIC_CHECKS: readonly Step[] = [
  {
    name: 'format',
    program: 'prettier',
    words: ['--check', '--log-level=warn', '--cache', `--cache-location=${CACHE}/prettier`, '.'],
  },
  {
    name: 'lint',
    program: 'oxlint',
    words: ['-c', 'oxlint.config.js', '--deny-warnings', '--report-unused-disable-directives'],
  },
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

/** How one of vitest's projects is to run. */
export interface ProjectWish {
  /** The test files; all of the project by default. */
  readonly files?: readonly string[];
  /** Another Node than the one that runs this: its version, and the folder of its `node`, for PATH. */
  readonly node?: { readonly version: string; readonly folder: string };
}

/** What a run of one of vitest's projects left. */
export interface ProjectRun {
  readonly tally: Tally;
  readonly ended: readonly FileEnded[];
}

/** Runs one of vitest's projects on this machine. */
export async function runProject(
  project: string,
  reportFolder: string,
  { files = [], node }: ProjectWish = {},
): Promise<ProjectRun> {
  const version = node?.version ?? process.versions.node;
  console.log(`\n== ${project} tests (Node ${version})`);
  const report = path.join(reportFolder, `${project}-${version}`);
  const reporters = ['--reporter=default', '--reporter=./test/support/suite/record-results.ts'];
  // `unit` has a part of its own name
  const words = ['run', `--project=${project}*`, ...reporters, ...files];
  const variables = { [REPORT_VARIABLE]: report };
  const { status } = await runProgram('vitest', words, 'shown', { variables, folder: node?.folder });
  const name = node === undefined ? project : `${project} on Node ${version}`;
  const ended = endedFiles(readReport(report));
  // Vitest passes over what it does not find.
  const isNotRun = (file: string): boolean => !ended.some((each) => each.ended.startsWith(file));
  const missing = files.filter(isNotRun).map((file) => failure(`${name}: did not run: ${file}`));
  return { tally: addTallies([tallyVitest(name, report, status), ...missing]), ended };
}

/** What a program is given beside its words. */
export interface ProgramWish {
  readonly variables?: Readonly<Record<string, string>>;
  /** First in its PATH. */
  readonly folder?: string | undefined;
}

/** Runs a program to its end; the words of one that cannot be started are its output. */
export async function runProgram(
  program: string,
  words: readonly string[],
  output: 'shown' | 'collected',
  { variables = {}, folder }: ProgramWish = {},
): Promise<{ status: number | null; output: string }> {
  const destination = output === 'shown' ? 'inherit' : 'pipe';
  const folders = [folder, path.join(CHECKOUT, 'node_modules/.bin'), process.env['PATH']];
  const child = spawn(program, words, {
    cwd: CHECKOUT,
    env: {
      ...process.env,
      // vitest colours its lines wherever they go
      ...(process.stdout.isTTY ? {} : { NO_COLOR: '1' }),
      ...variables,
      PATH: folders.filter((each) => each !== undefined).join(':'),
    },
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
