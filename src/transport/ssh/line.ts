import type { Duplex } from 'node:stream';
import type { Spawner } from '../../host/spawner.js';
import type { HostConfig } from './host-config.js';
import { startProxy } from './proxy.js';
import { openSocket } from './socket.js';

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

/** Opens the way to a host: a TCP connection, or through what its configuration puts before it. */
export async function openLine(config: HostConfig, batch: boolean, spawner: Spawner): Promise<RawLine> {
  if (config.proxy !== null) return startProxy(config, config.proxy, batch, spawner);
  const socket = await openSocket(config);
  return { stream: socket, bytesRead: () => socket.bytesRead, problem: () => null, ended: Promise.resolve() };
}
