import type { Spawner } from '../../host/spawner.js';
import type { HostConfig } from './host-config.js';
import { startProxy } from './proxy.js';
import type { RawLine } from './raw-line.js';
import { openSocket } from './socket.js';

/** Opens the way to a host: a TCP connection, or through what its configuration puts before it. */
export async function openLine(config: HostConfig, batch: boolean, spawner: Spawner): Promise<RawLine> {
  if (config.proxy !== null) return startProxy(config, config.proxy, batch, spawner);
  const socket = await openSocket(config);
  return { stream: socket, bytesRead: () => socket.bytesRead, problem: () => null, ended: Promise.resolve() };
}
