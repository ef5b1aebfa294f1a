import { once } from 'node:events';
import { CommandError, isErrno } from '../errors.js';
import type { RunningCommand } from './spawner.js';
import type { Surroundings } from './surroundings.js';

/** How many characters of a program's stderr are kept. */
const MOST_WORDS = 4096;

/**
 * Runs a program and reads its output as it comes. Kills the program if the reading fails or the run is interrupted.
 *
 * Throws CommandError if the program cannot be started (with the package that it `comesWith`) or fails: that says more
 * than the error of a reader whose input was cut. Else throws what `read` throws, or the interruption.
 */
export async function readOutput(
  argv: readonly [string, ...string[]],
  comesWith: string,
  env: Surroundings,
  read: (output: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<void> {
  env.signal.throwIfAborted();
  const child = env.spawner.start(argv);
  const stop = () => child.kill();
  env.signal.addEventListener('abort', stop, { once: true });
  try {
    const end = waitForEnd(child);
    child.stdin.on('error', () => undefined);
    child.stdin.end();
    const reading = read(child.stdout);
    let failure: unknown = null;
    // Thrown below, after the program's own error.
    const readToItsEnd = reading.catch((error: unknown) => {
      failure = error;
      child.kill();
    });
    const { status, said } = await end.catch((error: unknown) => {
      throw cannotStart(argv, comesWith, error);
    });
    await readToItsEnd;
    env.signal.throwIfAborted();
    // The reading failed, so the signal that ended the program was ours.
    const isOurs = status === null && failure !== null;
    if (status !== 0 && !isOurs) {
      const problem = status === null ? 'it was killed' : `it failed (status ${status})`;
      throw new CommandError(argv, problem, { status, stderr: said });
    }
    if (failure !== null) throw failure as Error;
  } finally {
    env.signal.removeEventListener('abort', stop);
  }
}

async function waitForEnd(child: RunningCommand): Promise<{ status: number | null; said: string }> {
  let said = '';
  child.stderr.on('data', (piece: Buffer) => {
    if (said.length < MOST_WORDS) said += piece.toString();
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, said };
}

function cannotStart(argv: readonly string[], comesWith: string, error: unknown): CommandError {
  const problem = isErrno(error, 'ENOENT')
    ? `not installed: it comes with ${comesWith}`
    : 'cannot be started';
  return new CommandError(argv, problem, { cause: error });
}
