import { LineError, TransportError } from '../../errors.js';
import type { Surroundings } from '../../host/surroundings.js';
import { quoteWords } from '../shell-words.js';
import type { LineListener } from '../stderr-lines.js';
import type { FarStart, Transport } from '../transport.js';
import { carryChannel, type Line } from './channel.js';
import { shakeHands } from './handshake.js';
import type { HostConfig } from './host-config.js';
import { readKeyFiles } from './keys.js';
import { readKnownHosts } from './known-hosts.js';
import { openSocket, nameOf } from './line.js';
import { startProxy } from './proxy.js';
import type { SshSettings } from './settings.js';

/** What a connection needs from its surroundings. */
export type SshSurroundings = Pick<Surroundings, 'spawner' | 'notice'>;

/** {@link connectSsh} once ssh2 is loaded. */
export async function openSshTransport(
  { command, onStderrLine }: Pick<FarStart, 'command' | 'onStderrLine'>,
  config: HostConfig,
  settings: SshSettings,
  { spawner, notice }: SshSurroundings,
): Promise<Transport> {
  const commandString = quoteWords(command);
  const prompter = config.batch ? null : settings.prompter;
  const prepared = { onFile: await readKnownHosts(config), keys: await readKeyFiles(config.identityFiles) };
  const raw = await (config.proxy === null
    ? openSocket(config)
    : startProxy(config, config.proxy, prompter === null, spawner));
  try {
    const line = await shakeHands(raw, config, { ...settings, prompter, notice }, prepared);
    return await execute(line, config, commandString, onStderrLine);
  } catch (error) {
    raw.stream.destroy();
    throw error;
  }
}

function execute(
  line: Line,
  config: HostConfig,
  command: string,
  onStderrLine: LineListener,
): Promise<Transport> {
  const timeoutMs = config.connectTimeoutMs;
  return new Promise((resolve, reject) => {
    const fail = (Problem: typeof TransportError, problem: string, cause?: unknown): void => {
      clearTimeout(timer);
      reject(new Problem(`${nameOf(config)}: ${problem}`, { cause }));
    };
    const timer = setTimeout(() => {
      fail(LineError, `it did not start the command within ${timeoutMs / 1000} s`);
    }, timeoutMs);
    try {
      line.client.exec(command, (error, channel) => {
        if (error !== undefined) {
          fail(TransportError, `it refused to start the command: ${error.message}`, error);
          return;
        }
        clearTimeout(timer);
        // At once: the end of a short command can be in the same packet, and is reported in the same turn of the event
        // loop.
        resolve(carryChannel(line, channel, config.name, onStderrLine));
      });
    } catch (error) {
      fail(LineError, `it closed the connection: ${line.problem()}`, error);
    }
  });
}
