import { resolve } from 'node:path';
import type { Spawner } from './spawner.js';

/** Shows how far a long run is. */
export interface Progress {
  /** Begins: `totalBytes` are expected. */
  start(totalBytes: number): void;
  advance(bytes: number): void;
  stop(): void;
}

/** What library code may know and use of the process that it runs in. */
export interface Surroundings {
  readonly spawner: Spawner;
  readonly progress: Progress;
  /** Milliseconds that only grow. */
  readonly clock: () => number;
  /** The time of day. */
  readonly now: () => Date;
  /** Prints a line for the user that is not an error. */
  readonly notice: (line: string) => void;
  /** Prints a line for a user who asked for more detail. */
  readonly detail: (line: string) => void;
  /** Aborted, with an InterruptedError, when the run must stop at a point where it can be resumed or taken back. */
  readonly signal: AbortSignal;
  /** Where journals, locks and records of targets are, unless the user names another directory. */
  readonly stateDir: string;
  readonly hostname: string;
  /** This program's version, without its name. */
  readonly version: string;
}

/**
 * The state directory that the user named, or the default. An absolute path, because it is written down for later runs.
 */
export function stateDirOf(named: string | null, { stateDir }: Pick<Surroundings, 'stateDir'>): string {
  return named === null ? stateDir : resolve(named);
}

/** Shows nothing. */
export const silentProgress: Progress = {
  start: () => undefined,
  advance: () => undefined,
  stop: () => undefined,
};

/** Prints nothing: the last words of a far side then come with the error, if there is one. */
export const silentNotice = (): void => undefined;

/** The program that made a stream or an archive, and when, for its header. */
export interface Maker {
  readonly host: string;
  readonly time: string;
  readonly writer: string;
}

/** This program, here and now. */
export function makerOf({
  hostname,
  now,
  version,
}: Pick<Surroundings, 'hostname' | 'now' | 'version'>): Maker {
  return { host: hostname, time: now().toISOString(), writer: `lvmsync ${version}` };
}
