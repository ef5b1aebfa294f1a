import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { CommandError } from '../errors.js';

/** What a finished command printed. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | null;
}

/** A started program whose three streams are pipes. */
export type RunningCommand = ChildProcessWithoutNullStreams;

/** The only door to other programs: argv arrays, never a shell. */
export interface Spawner {
  /** Runs to the end; any exit status is a result. Throws CommandError where the program cannot be started. */
  run(argv: readonly [string, ...string[]]): Promise<CommandResult>;
  /** Starts a program whose three streams are pipes. A failed start shows as the child's 'error' event. */
  start(argv: readonly [string, ...string[]]): RunningCommand;
}

/** Spawns real processes, with the C locale so that messages and numbers read the same everywhere. */
export class ProcessSpawner implements Spawner {
  private readonly environment: NodeJS.ProcessEnv;

  /** @param tell hears of every command that is run */
  constructor(
    environment: NodeJS.ProcessEnv,
    private readonly tell: (line: string) => void = () => undefined,
  ) {
    // An ordinary user's, or a cron job's, PATH often lacks the folders of dmsetup and lvs.
    this.environment = { ...environment, PATH: `${environment['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` };
  }

  start(argv: readonly [string, ...string[]]): RunningCommand {
    this.tell(`runs ${argv.join(' ')}`);
    const [command, ...words] = argv;
    return spawn(command, words, { stdio: 'pipe', env: this.environment });
  }

  async run(argv: readonly [string, ...string[]]): Promise<CommandResult> {
    this.tell(`runs ${argv.join(' ')}`);
    const [command, ...words] = argv;
    const child = spawn(command, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...this.environment, LC_ALL: 'C' },
      // Ctrl-C at a terminal is for us alone: what has begun, such as a change of LVM's, comes to its end.
      detached: true,
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
    child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        const problem =
          error.code === 'ENOENT'
            ? `${command} is not installed or not in PATH`
            : `cannot be started (${error.code ?? error.message})`;
        reject(new CommandError(argv, null, '', problem, { cause: error }));
      });
      child.once('close', resolve);
    });
    return { stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString(), status };
  }
}
