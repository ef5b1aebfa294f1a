import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import path from 'node:path';
import { layOutJob, readStatus, type GuestJob, type JobFolder } from './guest-job.js';
import { usualKernel, type GuestKernel } from './guest-kernel.js';
import { findMemoryFolder } from './guest-memory.js';
import { nextProcessor } from './guest-processor.js';

export type { GuestDisk, GuestJob } from './guest-job.js';

/** How a guest ended. */
export interface GuestResult {
  /** The command's exit status; null unless `ended` is `finished`. */
  readonly status: number | null;
  /** `died`: the guest went down by itself without leaving a status; `console` may tell why. */
  readonly ended: 'finished' | 'killed' | 'timed out' | 'died';
  readonly stdout: string;
  readonly stderr: string;
  readonly console: string;
}

/** A guest at work. */
export interface RunningGuest {
  /** Resolves however the guest ends; rejects only where it cannot be started. */
  readonly finished: Promise<GuestResult>;
  /** Pulls the plug, as a crash of the machine does: buffered writes are lost, the disk images stay. */
  kill(): void;
}

/** Runs a command in a guest to its end. Like {@link startGuest}, for those who never kill one. */
export async function bootGuest(job: GuestJob): Promise<GuestResult> {
  return startGuest(job).finished;
}

/**
 * Boots a User-Mode-Linux guest whose root is this machine's own root file system, or the one that is named, with LVM
 * ready, and runs one command in it as root. Everything of its own lies in a private folder and goes with it; disk images
 * that were named by path stay. Several guests may run at once.
 */
export function startGuest(job: GuestJob): RunningGuest {
  const memoryMiB = job.memoryMiB ?? 1024;
  const memoryFolder = findMemoryFolder(memoryMiB);
  const program = job.kernel ?? usualKernel();
  const folder = layOutJob(job, program);
  const kernel = startKernel(program, folder, memoryMiB, memoryFolder);
  let cutShort: 'killed' | 'timed out' | null = null;
  const cut = (why: 'killed' | 'timed out'): void => {
    cutShort ??= why;
    pullPlug(kernel);
  };
  const cleanUp = (): void => {
    pullPlug(kernel);
    rmSync(folder.path, { recursive: true, force: true });
  };
  process.once('exit', cleanUp);
  const stopFollowing = followOutput(folder, job.onOutput);
  const timer = setTimeout(
    () => {
      cut('timed out');
    },
    (job.timeoutSeconds ?? 600) * 1000,
  );

  const finished = new Promise<GuestResult>((resolve, reject) => {
    kernel.once('error', reject);
    kernel.once('exit', () => {
      stopFollowing();
      const status = readStatus(folder);
      const read = (name: string): string => readFileSync(path.join(folder.path, name), 'utf8');
      const ended = status === null ? (cutShort ?? 'died') : 'finished';
      resolve({ status, ended, stdout: read('out'), stderr: read('err'), console: read('console') });
    });
  }).finally(() => {
    clearTimeout(timer);
    process.removeListener('exit', cleanUp);
    cleanUp();
  });
  return {
    finished,
    kill: () => {
      cut('killed');
    },
  };
}

/**
 * Leads the guest's many processes as one group and kills them all once fd 3, a pipe from here, is closed: by
 * us, or by the end of this process, whatever ended it.
 */
const SUPERVISOR = `
  setsid "$@" 3<&- & guest=$!
  { read -r _ <&3; kill -KILL "$guest" "-$guest"; } 2>/dev/null & watcher=$!
  wait "$guest"
  kill -KILL "-$guest" "$watcher" 2>/dev/null`;

function startKernel(
  { program, words, preload }: GuestKernel,
  folder: JobFolder,
  memoryMiB: number,
  memoryFolder: string,
): ChildProcess {
  const console = openSync(path.join(folder.path, 'console'), 'a');
  const kernel = [
    ...['taskset', '--cpu-list', String(nextProcessor()), program],
    `mem=${memoryMiB}M`,
    ...['rootfstype=hostfs', 'rootflags=/', 'rw', `init=${path.join(folder.path, 'guest-init')}`],
    ...folder.diskArguments,
    ...['con=null', 'con0=null,fd:1', 'con1=null', 'ssl=null', 'quiet', 'panic=-1'],
    // measures checksum speeds for a second at boot
    'initcall_blacklist=raid6_select_algo',
    ...[`uml_dir=${path.join(folder.path, 'uml')}`, 'umid=guest'],
    ...words,
  ];
  const child = spawn('bash', ['-c', SUPERVISOR, 'guest', ...kernel], {
    // a Ctrl-C at the terminal is for us to handle
    detached: true,
    stdio: ['ignore', console, console, 'pipe'],
    env: { ...process.env, TMPDIR: memoryFolder, LD_PRELOAD: preload ?? '' },
  });
  closeSync(console);
  return child;
}

function pullPlug(kernel: ChildProcess): void {
  kernel.stdio[3]?.destroy();
}

/** Hands on what the guest adds to its output files; the returned function hands on the rest and stops. */
function followOutput(folder: JobFolder, onOutput: GuestJob['onOutput']): () => void {
  if (onOutput === undefined) return () => undefined;
  const files = (['stdout', 'stderr'] as const).map((stream) => ({
    stream,
    fd: openSync(path.join(folder.path, stream === 'stdout' ? 'out' : 'err'), 'r'),
  }));
  const buffer = Buffer.alloc(64 * 1024);
  const drain = (): void => {
    for (const { stream, fd } of files) {
      for (let length; (length = readSync(fd, buffer)) > 0;) {
        onOutput(stream, Buffer.from(buffer.subarray(0, length)));
      }
    }
  };
  const timer = setInterval(drain, 100);
  return () => {
    clearInterval(timer);
    drain();
    for (const { fd } of files) closeSync(fd);
  };
}
