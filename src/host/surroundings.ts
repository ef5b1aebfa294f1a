import { resolve } from 'node:path';
import type { Spawner } from './spawner.js';

/** Shows how far a long run is. Whoever makes it decides where, and whether at all. */
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
  /** Tells the user a line that is no error. */
  readonly notice: (line: string) => void;
  /** Tells the user what only those want to know who asked for more. */
  readonly detail: (line: string) => void;
  /** Aborted, with an InterruptedError, when the run shall stop where it can be taken up or taken back. */
  readonly signal: AbortSignal;
  /** Where journals, locks and records of targets lie unless the user names another place. */
  readonly stateDir: string;
  readonly hostname: string;
  /** This program's version, without its name. */
  readonly version: string;
}

/** The state directory that was named, or the usual one: a whole path, wherever what notes it is read from. */
export function stateDirOf(named: string | null, { stateDir }: Pick<Surroundings, 'stateDir'>): string {
  return named === null ? stateDir : resolve(named);
}

/** Shows nothing. */
export const silentProgress: Progress = {
  start: () => undefined,
  advance: () => undefined,
  stop: () => undefined,
};

/** Tells nobody: a far side's last words then come with the error, if there is one. */
export const silentNotice = (): void => undefined;

/** What made a stream or an archive, and when, for its header. */
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
