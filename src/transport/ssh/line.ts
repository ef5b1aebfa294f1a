import { connect as connectSocket } from 'node:net';
import type { Duplex } from 'node:stream';
import { describeCause, LineError } from '../../errors.js';
import type { HostConfig } from './host-config.js';

/** The byte stream to a host's ssh server, before ssh begins. */
export interface RawLine {
  readonly stream: Duplex;
  /** How many bytes have arrived so far. */
  readonly bytesRead: () => number;
  /** Why it broke, if that is known; else null. */
  readonly problem: () => string | null;
  /** Resolves once `problem` has its final value. */
  readonly ended: Promise<unknown>;
}

/** Connects to a host's ssh port. Throws LineError, which says what to check. */
export function openSocket(config: HostConfig): Promise<RawLine> {
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
      resolve({
        ...{ stream: socket, bytesRead: () => socket.bytesRead },
        ...{ problem: () => null, ended: Promise.resolve() },
      });
    });
  });
}

/** A host as the user wrote it, with the name that the configuration gives it. */
export function nameOf({ name, hostName }: Pick<HostConfig, 'name' | 'hostName'>): string {
  return name === hostName ? name : `${name} (${hostName})`;
}

function describeSocketError(error: NodeJS.ErrnoException, port: number): string {
  // Node tries all addresses of a name, and reports each.
  const first = error instanceof AggregateError ? (error.errors[0] as NodeJS.ErrnoException) : error;
  switch (first.code) {
    case 'ECONNREFUSED':
      return `connection refused on port ${port}: no ssh server is listening there`;
    case 'ENOTFOUND':
      return 'could not resolve the host name: no such name';
    case 'EAI_AGAIN':
      return 'could not resolve the host name: the name server does not answer';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `the host cannot be reached (${first.code})`;
    case 'ETIMEDOUT':
      return `no answer on port ${port}`;
    default:
      return `connecting to port ${port} failed: ${first.code ?? describeCause(first)}`;
  }
}
