import { silentNotice, type Surroundings } from '../host/surroundings.js';
import type { FarSide } from '../session/sender.js';
import { explainFarExit, judgeFarExit, LastLines, type SilentEnd } from '../transport/far-exit.js';
import { buildFarCommand, type FarCommand } from '../transport/remote-command.js';
import { startRsh } from '../transport/rsh.js';
import { connectSsh, prepareSsh, type SshSettings } from '../transport/ssh/index.js';
import type { RemoteHost } from '../transport/target-spec.js';
import type { FarExit, FarStart, Transport } from '../transport/transport.js';
import { askFacts, type StartLvmsync } from './far-facts.js';

/** How many of the far side's last lines of stderr are kept, to explain a failure. */
const LAST_LINES = 3;

/** How other hosts are reached. */
export interface Reach {
  /** The words of an external remote shell, or null for the built-in ssh. */
  readonly rsh: readonly [string, ...string[]] | null;
  readonly ssh: SshSettings;
  /** How lvmsync is started there. */
  readonly command: FarCommand;
  /** How often in a row a transfer reconnects after the connection broke. */
  readonly retries: number;
}

/** Begins to load the modules for `startFarSide` while the source is still being opened: this saves downtime. */
export function prepareFarSide({ rsh }: Reach): void {
  if (rsh === null) prepareSsh();
}

/**
 * Starts lvmsync on another host with these words. Its stderr is shown line by line, each with the host's name. If
 * notices are silent, the last lines are in the error instead, if there is an error.
 */
export async function startFarSide(
  destination: RemoteHost,
  reach: Reach,
  words: readonly string[],
  env: Surroundings,
): Promise<FarSide> {
  const isShown = env.notice !== silentNotice;
  const heard = new LastLines(LAST_LINES);
  const onStderrLine = (line: string): void => {
    heard.add(line);
    if (isShown) env.notice(`${destination.host}: ${line}`);
  };
  const transport = await startCommand({ destination, command: words, onStderrLine }, reach, env);
  return {
    transport,
    explainEnd: async (exit: FarExit) => {
      const end: SilentEnd = {
        ...{ host: destination.host, carrier: reach.rsh === null ? 'ssh2' : 'rsh', exit },
        ...{ heard: heard.lines, isShown, command: reach.command, version: env.version },
      };
      const startQuietly: StartLvmsync = (farCommand, farWords) => {
        const start = { destination, command: farWords, onStderrLine: () => undefined };
        return startCommand(start, { ...reach, command: farCommand }, env);
      };
      const facts = await askFacts(judgeFarExit(end), end, startQuietly);
      return explainFarExit(end, { ...facts, user: facts.user ?? destination.user });
    },
  };
}

/** Starts lvmsync with the words of a command. */
function startCommand(
  lvmsync: FarStart,
  { rsh, ssh, command }: Reach,
  env: Surroundings,
): Promise<Transport> {
  const start = { ...lvmsync, command: buildFarCommand(command, lvmsync.command) };
  return rsh === null ? connectSsh(start, ssh, env) : startRsh(env.spawner, rsh, start);
}
