import { once } from 'node:events';
import { CommandError } from '../errors.js';
import type { RunningCommand, Spawner } from '../host/spawner.js';
import { quoteWords } from './shell-words.js';
import { passOnLines, type LineListener } from './stderr-lines.js';
import { GatheringSink } from './gathering-sink.js';
import { sinkFrom, sourceFrom } from './stream-channel.js';
import { formatRemoteHost } from './target-spec.js';
import type { FarExit, FarStart, Transport } from './transport.js';

/** How long to wait for a remote shell command to end after SIGTERM, and after SIGKILL. */
const TERM_GRACE_MS = 2_000;
const KILL_GRACE_MS = 1_000;

/** How long stderr may stay open after the command ended: ssh's ControlPersist master inherits it and keeps running. */
const STDERR_GRACE_MS = 1_000;

/**
 * Starts a command on the far side through an external remote shell, as rsync does: WORDS [-p PORT] [USER@]HOST
 * COMMANDSTRING. Only an ssh:// target can have a port, and `-p` is ssh's option for it.
 *
 * @throws CommandError if the remote shell command itself cannot be started.
 */
export async function startRsh(
  spawner: Spawner,
  rshWords: readonly [string, ...string[]],
  { destination, command, onStderrLine }: FarStart,
): Promise<Transport> {
  const portWords = destination.port === null ? [] : ['-p', String(destination.port)];
  const argv = [...rshWords, ...portWords, formatRemoteHost(destination), quoteWords(command)] as const;
  const child = spawner.start([argv[0], ...argv.slice(1)]);
  const ended = watchEnd(child, onStderrLine);
  await waitForStart(child, rshWords);

  const name = `the far side on ${destination.host}`;
  return {
    host: destination.host,
    output: new GatheringSink(sinkFrom(child.stdin, name)),
    input: sourceFrom(child.stdout, name),
    exit: ended,
    destroy: async () => {
      child.stdout.destroy();
      child.stdin.destroy();
      await end(child);
    },
  };
}

function waitForStart(child: RunningCommand, rshWords: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.on('error', (error: NodeJS.ErrnoException) => {
      const problem =
        error.code === 'ENOENT' ? 'the remote shell command is not installed' : 'cannot be started';
      reject(new CommandError(rshWords, `${problem} (${error.code ?? error.message})`, { cause: error }));
    });
  });
}

async function watchEnd(child: RunningCommand, onStderrLine: LineListener): Promise<FarExit> {
  const exited = new Promise<FarExit>((resolve) => {
    child.once('exit', (status, signal) => {
      resolve({ status, signal });
    });
    child.once('error', () => {
      resolve({ status: null, signal: null });
    });
  });
  const passedOn = passOnLines(child.stderr, onStderrLine);
  const exit = await exited;
  const giveUp = setTimeout(() => child.stderr.destroy(), STDERR_GRACE_MS);
  await passedOn;
  clearTimeout(giveUp);
  return exit;
}

async function end(child: RunningCommand): Promise<void> {
  for (const [signal, patience] of [
    ['SIGTERM', TERM_GRACE_MS],
    ['SIGKILL', KILL_GRACE_MS],
  ] as const) {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    // The kill of another user's process, such as sudo, is refused; that process ends when its pipe closes.
    await once(child, 'exit', { signal: AbortSignal.timeout(patience) }).catch(() => undefined);
  }
}
