import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const RECORDER = path.join(import.meta.dirname, 'record-usage.cjs');
/** How long a process at the far side may take to end after the near one. */
const [PATIENCE_MS, PAUSE_MS] = [10_000, 5];

/** One run of a program. */
export interface Run {
  readonly seconds: number;
  readonly stdout: string;
}

/** What recorded processes took, all together. */
export interface Usage {
  /** Their peaks of memory, added up. Bytes. */
  readonly memory: number;
  /** Seconds that they kept a processor busy. */
  readonly processor: number;
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
      `${argv.join(' ')}: ${status === null ? 'ended by a signal' : `status ${status}`}: ${Buffer.concat(stderr).toString().trim()}`,
    );
  }
  return { seconds, stdout: Buffer.concat(stdout).toString() };
}

/** A folder in which recorded processes leave what they took. */
export class UsageFolder {
  constructor(readonly folder: string) {
    mkdirSync(folder, { recursive: true });
  }

  /** The words that run a script with this Node, recorded if the environment has the variable below. */
  static words(script: string): [string, ...string[]] {
    return [process.execPath, '--require', RECORDER, script];
  }

  /** The variable of the environment that names this folder. */
  get variable(): { readonly BENCH_USAGE_FOLDER: string } {
    return { BENCH_USAGE_FOLDER: this.folder };
  }

  /** Forgets processes of earlier runs. */
  clear(): void {
    for (const name of readdirSync(this.folder)) rmSync(path.join(this.folder, name));
  }

  /** Waits until all processes that were started have ended. Throws if there were none, or one does not end. */
  async read(): Promise<Usage> {
    for (let waited = 0; waited < PATIENCE_MS; waited += PAUSE_MS) {
      const files = readdirSync(this.folder).map((name) =>
        readFileSync(path.join(this.folder, name), 'latin1'),
      );
      if (files.length > 0 && files.every((text) => text !== '')) return addUp(files);
      await sleep(PAUSE_MS);
    }
    throw new Error(
      `${this.folder}: a recorded process left nothing, or was still running after ten seconds`,
    );
  }
}

/** Runs a script of Node to its end, and takes its time, memory and processor time. Throws where it fails. */
export async function recordRun(
  [script, ...words]: readonly [string, ...string[]],
  near: UsageFolder,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Run & Usage> {
  near.clear();
  const run = await timeRun([...UsageFolder.words(script), ...words], { ...environment, ...near.variable });
  return { ...run, ...(await near.read()) };
}

function addUp(files: readonly string[]): Usage {
  const numbers = files.map((text) => text.split(' ').map(Number));
  const sum = (index: number): number => numbers.reduce((total, each) => total + (each[index] ?? NaN), 0);
  return { memory: sum(0), processor: sum(1) };
}
