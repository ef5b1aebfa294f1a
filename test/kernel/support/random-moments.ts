import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeCounter } from './devices.js';
import type { Finished } from './run.js';

/** Kills a process that may just have ended by itself. */
export function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Numbers in [0, 1) that are the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    // a linear congruential generator with the constants of Numerical Recipes
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A moment in the life of a run that writes a target. */
export interface Moment {
  /** Not before this file is there, or the run is over. */
  readonly file: string;
  /** Not before the target has seen as many writes since the run began. */
  readonly writes: number;
  /** And then so much later. */
  readonly milliseconds: number;
}

export interface Running {
  /** Null where it was ended by a signal. */
  readonly finished: Promise<Pick<Finished, 'status' | 'stderr'>>;
  readonly pid: number;
  isOver(): boolean;
}

/** Starts a command and leaves it running. */
export function start([command, ...words]: readonly [string, ...string[]]): Running {
  const child = spawn(command, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  const stderr: Buffer[] = [];
  child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
  const finished = once(child, 'close').then(() => ({
    status: child.exitCode,
    stderr: Buffer.concat(stderr).toString(),
  }));
  return {
    finished,
    pid: child.pid ?? 0,
    isOver: () => child.exitCode !== null || child.signalCode !== null,
  };
}

/** A running command of which all that it printed so far can be looked at. */
export interface Collecting extends Running {
  stdout(): string;
  stderr(): string;
}

/** Starts a command, leaves it running, and collects what it prints. */
export function startCollecting([command, ...words]: readonly [string, ...string[]]): Collecting {
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  const printed = { stdout: '', stderr: '' };
  child.stdout.on('data', (piece: Buffer) => (printed.stdout += piece.toString()));
  child.stderr.on('data', (piece: Buffer) => (printed.stderr += piece.toString()));
  const finished = once(child, 'close').then(() => ({ status: child.exitCode, stderr: printed.stderr }));
  return {
    finished,
    pid: child.pid ?? 0,
    isOver: () => child.exitCode !== null || child.signalCode !== null,
    stdout: () => printed.stdout,
    stderr: () => printed.stderr,
  };
}

/** Resolves at a moment of a run, or when the run is over. */
export async function reach(moment: Moment, target: string, running: Running): Promise<void> {
  const writes = writeCounter(target);
  const before = writes();
  while (!running.isOver() && !existsSync(moment.file)) await sleep(20);
  while (!running.isOver() && writes() - before < moment.writes) await sleep(5);
  await sleep(moment.milliseconds);
}
