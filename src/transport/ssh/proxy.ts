import { Duplex } from 'node:stream';
import { CommandError } from '../../errors.js';
import type { RunningCommand, Spawner } from '../../host/spawner.js';
import { LastLines } from '../far-exit.js';
import { passOnLines } from '../stderr-lines.js';
import type { HostConfig, Proxy } from './host-config.js';
import type { RawLine } from './line.js';

/** How many of a proxy's last lines an error quotes. */
const LAST_LINES = 3;

/** Starts the program between us and a host, and talks through it. Throws CommandError if it cannot be started. */
export async function startProxy(
  config: HostConfig,
  proxy: Proxy,
  batch: boolean,
  spawner: Spawner,
): Promise<RawLine> {
  const argv = proxy.kind === 'command' ? shellWords(proxy.command) : jumpWords(proxy.hops, config, batch);
  const child = spawner.start(argv);
  const said = new LastLines(LAST_LINES);
  const heard = passOnLines(child.stderr, (line) => {
    said.add(line);
  });
  await waitForStart(child, argv, proxy);

  const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
  stream.once('close', () => child.kill());
  let end: string | null = null;
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (status, signal) => {
      end = signal === null ? `it exited with status ${status ?? 'unknown'}` : `it was killed by ${signal}`;
      resolve();
    });
  });
  return {
    stream,
    bytesRead: () => (child.stdout as { bytesRead?: number }).bytesRead ?? 0,
    problem: () => (end === null ? null : describeEnd(proxy, end, said.lines)),
    ended: Promise.all([exited, heard]),
  };
}

/**
 * ProxyCommand is a command line, which OpenSSH passes to a shell by `exec`: pipes and quotes in it work as in any
 * shell. This is the only place where lvmsync starts a shell: the text is the user's own configuration, and only names
 * without shell characters get into it from the command line (see expandProxyCommand).
 */
function shellWords(command: string): [string, ...string[]] {
  return ['/bin/sh', '-c', `exec ${command}`];
}

/** As OpenSSH itself does ProxyJump: its client forwards to the host, and goes through the hops before the last. */
function jumpWords(hops: readonly string[], config: HostConfig, batch: boolean): [string, ...string[]] {
  const last = hops.at(-1) ?? '';
  const before = hops.slice(0, -1);
  return [
    'ssh',
    ...(before.length === 0 ? [] : ['-J', before.join(',')]),
    ...(batch ? ['-o', 'BatchMode=yes'] : []),
    ...['-W', `[${config.hostName}]:${config.port}`, '--'],
    // ssh does not accept [user@]host[:port] as a destination, but it accepts this form.
    last.startsWith('ssh://') ? last : `ssh://${last}`,
  ];
}

function waitForStart(child: RunningCommand, argv: readonly string[], proxy: Proxy): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.on('error', (error: NodeJS.ErrnoException) => {
      const advice =
        proxy.kind === 'jump' ? ': ProxyJump needs the OpenSSH client (install openssh-client)' : '';
      const problem = `cannot be started (${error.code ?? error.message})${advice}`;
      reject(new CommandError(argv, problem, { cause: error }));
    });
    child.stdin.on('error', () => undefined);
  });
}

function describeEnd(proxy: Proxy, end: string, said: readonly string[]): string {
  const name = proxy.kind === 'jump' ? `the jump through ${proxy.hops.join(', ')}` : 'the ProxyCommand';
  const words = said.length === 0 ? '' : `: ${said.join('; ')}`;
  return `${name} failed: ${end}${words}`;
}
