import type { FarStart, Transport } from '../transport.js';
import type { SshSurroundings } from './connect.js';
import { resolveHost } from './resolve-host.js';
import type { SshSettings } from './settings.js';

export type { Prompter } from './settings.js';
export { defaultSshSettings, type SshSettings } from './settings.js';

/** Begins to load what a connection needs, while its caller is still waiting for something else. */
export function prepareSsh(): void {
  // connectSsh reports a failure.
  import('./connect.js').catch(() => undefined);
}

/**
 * Logs in over ssh, as the user's ssh configuration says, and starts a command, whose words are quoted for the far
 * shell. ssh2 is loaded only when a connection is made: a local run must not pay for it.
 *
 * @throws TransportError if the connection fails: one sentence says why and what to do.
 */
export async function connectSsh(
  start: FarStart,
  settings: SshSettings,
  env: SshSurroundings,
): Promise<Transport> {
  // Runs `ssh -G` while ssh2 loads: at the end of a move this time is downtime.
  const [{ openSshTransport }, config] = await Promise.all([
    import('./connect.js'),
    resolveHost(start.destination, settings, env),
  ]);
  return openSshTransport(start, config, settings, env);
}
