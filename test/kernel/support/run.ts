import { spawn } from 'node:child_process';
import path from 'node:path';

/** What a finished command left. */
export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: Uint8Array | string;
  readonly environment?: Readonly<Record<string, string>>;
}

const CHECKOUT = path.resolve(import.meta.dirname, '../../..');

/** Runs a command and returns what it printed. @throws Error with its stderr where the status is not 0. */
export async function run(argv: readonly [string, ...string[]], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await tryToRun(argv, options);
  if (status !== 0) throw new Error(`${argv.join(' ')}: status ${status ?? 'none'}\n${stderr}${stdout}`);
  return stdout;
}

/** Runs a command to its end; any status is a result. */
export async function tryToRun(
  [command, ...words]: readonly [string, ...string[]],
  { input, environment }: RunOptions = {},
): Promise<Finished> {
  const child = spawn(command, words, { env: { ...process.env, ...environment } });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
  child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
  // a command that ends before it has read its input is no fault of the lab's
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const stdoutBytes = Buffer.concat(stdout);
  return { status, stdoutBytes, stdout: stdoutBytes.toString(), stderr: Buffer.concat(stderr).toString() };
}

/** The words that start this checkout's lvmsync, for tests that spawn it themselves. */
export function lvmsyncCommand(...words: readonly string[]): [string, ...string[]] {
  return [process.execPath, path.join(CHECKOUT, 'bin/lvmsync.js'), ...words];
}

/** Runs this checkout's lvmsync (as built in dist) to its end; any status is a result. */
export async function lvmsync(words: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return tryToRun(lvmsyncCommand(...words), options);
}
