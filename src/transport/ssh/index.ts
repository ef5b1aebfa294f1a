import type { LineListener } from '../stderr-lines.js';
import type { RemoteHost } from '../target-spec.js';
import type { Transport } from '../transport.js';
import type { SshSurroundings } from './connect.js';
import { resolveHost } from './resolve-host.js';
import type { SshSettings } from './settings.js';

export type { Prompter } from './settings.js';
export { defaultSshSettings, type SshSettings } from './settings.js';

/** Begins to load what a connection needs, while its caller still waits for something else. */
export function prepareSsh(): void {
  // Whoever connects hears of a failure.
  import('./connect.js').catch(() => undefined);
}

/**
 * Logs in over ssh, as the user's ssh configuration has it, and starts a command, whose words are quoted for the
 * far shell. ssh2 is loaded only where a connection is really made: a local run must not pay for it.
 *
 * @throws TransportError when no connection comes about: one sentence says why and what to do.
 */
export async function connectSsh(
  destination: RemoteHost,
  settings: SshSettings,
  command: readonly string[],
  onStderrLine: LineListener,
  about: SshSurroundings,
): Promise<Transport> {
  // The client is asked for its configuration while ssh2 is loaded: at the end of a move that is downtime.
  const [{ openSshTransport }, config] = await Promise.all([
    import('./connect.js'),
    resolveHost(destination, settings, about),
  ]);
  return openSshTransport(config, settings, command, onStderrLine, about);
}
