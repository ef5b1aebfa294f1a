import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { CommandError, describeCause } from '../errors.js';
import { CommandWatch, type WatchedKind } from './command-watch.js';

/** What a finished command printed. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | null;
  /** Why it was made to give up, in words; absent if it was not. */
  readonly gaveUp?: string;
}

/** How a command runs. */
export interface RunOptions {
  /** Added to our environment; an undefined variable is removed from it. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Set for a command of LVM or device-mapper: then the user is told what it waits for, and the wait is limited. */
  readonly watch?: WatchedKind;
  /**
   * How long a watched question may take. After that lvmsync gives up on it, and does not wait for its end.
   * Milliseconds.
   */
  readonly patienceMs?: number;
}

/** A started program whose three streams are pipes. */
export type RunningCommand = ChildProcessWithoutNullStreams;

/** The only way to other programs: arrays of words, never a shell. */
export interface Spawner {
  /**
   * Runs a program to its end; any exit status is a result. Throws CommandError if the program cannot be started, and
   * the interruption that made a watched program give up.
   */
  run(argv: readonly [string, ...string[]], options?: RunOptions): Promise<CommandResult>;
  /** Starts a program whose three streams are pipes. A failed start shows as the child's 'error' event. */
  start(argv: readonly [string, ...string[]]): RunningCommand;
}

/** Where a spawner reports, and what stops it. */
export interface SpawnerSurroundings {
  /** Told of every command that runs. */
  readonly tell: (line: string) => void;
  /** Tells the user what a command waits for. */
  readonly notice: (line: string) => void;
  /** The interruption that ends a command that only waits. */
  readonly signal: AbortSignal;
  /** Aborted when this process is about to exit at once: watched commands are then asked to end. */
  readonly leaving: AbortSignal;
}

const ALONE: SpawnerSurroundings = {
  tell: () => undefined,
  notice: () => undefined,
  signal: new AbortController().signal,
  leaving: new AbortController().signal,
};

/** Spawns real processes, with the C locale so that messages and numbers read the same everywhere. */
export class ProcessSpawner implements Spawner {
  private readonly environment: NodeJS.ProcessEnv;

  constructor(
    environment: NodeJS.ProcessEnv,
    private readonly env: SpawnerSurroundings = ALONE,
  ) {
    // The PATH of an ordinary user or a cron job often lacks the folders of dmsetup and lvs.
    this.environment = { ...environment, PATH: `${environment['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` };
  }

  start(argv: readonly [string, ...string[]]): RunningCommand {
    this.env.tell(`runs ${argv.join(' ')}`);
    const [command, ...words] = argv;
    return spawn(command, words, { stdio: 'pipe', env: this.environment });
  }

  async run(argv: readonly [string, ...string[]], options: RunOptions = {}): Promise<CommandResult> {
    this.env.tell(`runs ${argv.join(' ')}`);
    const [command, ...words] = argv;
    const child = spawn(command, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...this.environment, LC_ALL: 'C', ...options.environment },
      // Ctrl-C at a terminal is for us alone: a change that LVM has begun runs to its end.
      detached: true,
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
    child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        const problem =
          error.code === 'ENOENT'
            ? 'not installed, or not in PATH'
            : `cannot be started (${error.code ?? error.message})`;
        const mayNotAsk = error.code === 'ENOENT' || error.code === 'EACCES';
        reject(new CommandError([command], problem, { cause: error, mayNotAsk }));
      });
      child.once('close', resolve);
    });
    const watch = this.watch(command, child, options);
    const status = await (watch === null ? ended : this.orLeave(child, watch.race(ended)));
    const result = {
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
      status,
    };
    const gaveUp = watch?.gaveUp ?? null;
    return gaveUp === null ? result : { ...result, gaveUp };
  }

  /** Otherwise an LVM command that waits for a lock would outlive us, and change volumes after the user stopped it. */
  private async orLeave<T>(child: ChildProcess, ended: Promise<T>): Promise<T> {
    const end = () => child.kill();
    this.env.leaving.addEventListener('abort', end);
    try {
      return await ended;
    } finally {
      this.env.leaving.removeEventListener('abort', end);
    }
  }

  private watch(
    name: string,
    child: ChildProcess,
    { watch: kind, patienceMs = Infinity }: RunOptions,
  ): CommandWatch | null {
    const { pid } = child;
    if (kind === undefined || pid === undefined) return null;
    const completeCookie = async (cookie: string) => {
      // If that fails, as when dmsetup is missing, the command still waits, and the watch tries again.
      await this.run(['dmsetup', 'udevcomplete', cookie]).catch((error: unknown) => {
        this.env.tell(describeCause(error));
      });
    };
    const end = () => child.kill();
    return new CommandWatch({ name, pid, kind, patienceMs, end, completeCookie }, this.env);
  }
}
