import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import type { ChangedVolume } from './changed-volume.js';
import { timeRun } from './measure.js';
import type { Rival } from './turns.js';

/** Programs that do something alike, where the machine has them. */
export interface Peers {
  readonly rsync: string | null;
  readonly blocksync: string | null;
  readonly bdsync: string | null;
  /** The Ruby tool, whose place $LVMSYNC_RUBY says. */
  readonly ruby: string | null;
}

const NAMES: Readonly<Record<keyof Peers, string>> = {
  rsync: 'rsync',
  blocksync: 'blocksync-fast',
  bdsync: 'bdsync',
  ruby: 'a Ruby lvmsync ($LVMSYNC_RUBY)',
};

export function findPeers(environment: NodeJS.ProcessEnv): Peers {
  return {
    rsync: findProgram('rsync', environment),
    blocksync: findProgram('blocksync-fast', environment),
    bdsync: findProgram('bdsync', environment),
    ruby: environment['LVMSYNC_RUBY'] ?? null,
  };
}

/** Such as "rsync: /usr/bin/rsync; bdsync: not found". */
export function describePeers(peers: Peers): string {
  const keys = Object.keys(NAMES) as (keyof Peers)[];
  return keys.map((key) => `${NAMES[key]}: ${peers[key] ?? 'not found'}`).join('; ');
}

/** A program's path. Ordinary users' PATH lacks the folders of the system's programs. */
export function findProgram(name: string, environment: NodeJS.ProcessEnv): string | null {
  const folders = [...(environment['PATH'] ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  const isThere = (file: string): boolean => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  };
  return folders.map((folder) => path.join(folder, name)).find(isThere) ?? null;
}

/** Peers that bring a whole volume to the state of another of this host. They read all of both. */
export function localPeers({ rsync, blocksync, bdsync }: Peers, volume: ChangedVolume): [string, Rival][] {
  const { origin, target } = volume;
  const rival = (...argv: [string, ...string[]]): Rival => {
    return async () => {
      volume.reset();
      const { seconds } = await timeRun(argv);
      volume.verify();
      return { seconds };
    };
  };
  const pipe = '"$1" "$1 --server" "$2" "$3" | "$1" --patch="$3"';
  return [
    ...found('rsync --write-devices', rsync, (program) =>
      rival(program, '--write-devices', '--ignore-times', origin, target),
    ),
    ...found('blocksync-fast', blocksync, (program) =>
      rival(program, '--silent', '-s', origin, '-d', target),
    ),
    ...found('bdsync', bdsync, (program) => rival('sh', '-c', pipe, 'sh', program, origin, target)),
  ];
}

/** A peer that compares two files of this host, and writes nothing. */
export function comparingPeers({ blocksync }: Peers, a: string, b: string): [string, Rival][] {
  const words = ['--silent', '--dont-write', '-s', a, '-d', b];
  return found('blocksync-fast', blocksync, (program) => () => timeRun([program, ...words]));
}

/** The tool that lvmsync replaces, applying a stream that both can read. */
export function applyingPeers(
  { ruby }: Peers,
  apply: (argv: [string, ...string[]]) => Rival,
): [string, Rival][] {
  return found('the Ruby tool', ruby, (program) => apply([program, '--apply']));
}

function found(name: string, program: string | null, make: (program: string) => Rival): [string, Rival][] {
  return program === null ? [] : [[name, make(program)]];
}
