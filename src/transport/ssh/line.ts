import { connect as connectSocket, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { describeCause, LineError } from '../../errors.js';
import type { Spawner } from '../../host/spawner.js';
import type { HostConfig } from './host-config.js';
import { startProxy } from './proxy.js';

/** The bytes' way to a host's ssh server, before anything of ssh is spoken. */
export interface RawLine {
  readonly stream: Duplex;
  /** How many bytes came from there so far. */
  readonly bytesRead: () => number;
  /** What is known of why it broke; null where nothing is. */
  readonly problem: () => string | null;
  /** Resolves once `problem` knows all that it ever will. */
  readonly ended: Promise<unknown>;
}

/** Connects to a host's ssh port. Throws LineError, in words that say what to look at. */
export function openSocket(config: HostConfig): Promise<Socket> {
  const { hostName, port, family, connectTimeoutMs } = config;
  const name = nameOf(config);
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host: hostName, port, family, noDelay: true });
    const fail = (problem: string, cause?: unknown): void => {
      socket.destroy();
      reject(new LineError(`${name}: ${problem}`, { cause }));
    };
    const timer = setTimeout(() => {
      fail(`no answer on port ${port} within ${connectTimeoutMs / 1000} s`);
    }, connectTimeoutMs);
    socket.once('error', (error) => {
      clearTimeout(timer);
      fail(describeSocketError(error, port), error);
    });
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}

/** A host as the user wrote it, and what the configuration made of that. */
export function nameOf({ name, hostName }: Pick<HostConfig, 'name' | 'hostName'>): string {
  return name === hostName ? name : `${name} (${hostName})`;
}

function describeSocketError(error: NodeJS.ErrnoException, port: number): string {
  // Node tries all addresses of a name, and tells of each.
  const first = error instanceof AggregateError ? (error.errors[0] as NodeJS.ErrnoException) : error;
  switch (first.code) {
    case 'ECONNREFUSED':
      return `the connection to port ${port} was refused: no ssh server listens there`;
    case 'ENOTFOUND':
      return 'no such host name';
    case 'EAI_AGAIN':
      return 'the host name could not be looked up: the name service gives no answer';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `the host cannot be reached (${first.code})`;
    case 'ETIMEDOUT':
      return `no answer on port ${port}`;
    default:
      return `connecting to port ${port} failed: ${first.code ?? describeCause(first)}`;
  }
}

/** Opens the way to a host: a TCP connection, or through what its configuration puts before it. */
export async function openLine(config: HostConfig, batch: boolean, spawner: Spawner): Promise<RawLine> {
  if (config.proxy !== null) return startProxy(config, config.proxy, batch, spawner);
  const socket = await openSocket(config);
  return { stream: socket, bytesRead: () => socket.bytesRead, problem: () => null, ended: Promise.resolve() };
}
