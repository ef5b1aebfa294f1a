import { readFile } from 'node:fs/promises';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { whileBusy } from './run-lvm.js';

/** How often another program may take the loop device that we were about to take. */
const TRIES = 10;

/** A file as a loop device shall show it. */
export interface LoopWish {
  /** Without links. */
  readonly file: string;
  readonly isReadOnly: boolean;
}

/**
 * Shows a file as a loop device, and returns the device's path. `announce` hears the path before it is taken, so that
 * a run that is killed in between leaves nothing unknown. Throws CommandError.
 */
export async function attachLoop(
  spawner: Spawner,
  { file, isReadOnly }: LoopWish,
  announce: (path: string) => Promise<void>,
): Promise<string> {
  for (let tries = 1; ; tries++) {
    const path = (await run(spawner, ['losetup', '-f'])).trim();
    await announce(path);
    try {
      await run(spawner, ['losetup', ...(isReadOnly ? ['-r'] : []), path, file]);
      return path;
    } catch (error) {
      const isTaken = error instanceof CommandError && /busy/i.test(error.stderr);
      if (!isTaken || tries === TRIES) throw error;
    }
  }
}

/** Detaches a loop device, if it shows this file. Throws CommandError. */
export async function detachLoop(spawner: Spawner, path: string, file: string): Promise<void> {
  if ((await backingFileOf(path)) !== file) return;
  await whileBusy(async () => {
    await run(spawner, ['losetup', '-d', path]);
  });
}

/** The file that a loop device shows, as the kernel names it; null where it shows none. */
export async function backingFileOf(path: string): Promise<string | null> {
  const name = path.replace(/^\/dev\//, '');
  const text = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => null);
  return text === null ? null : text.replace(/\n$/, '');
}

async function run(spawner: Spawner, argv: readonly [string, ...string[]]): Promise<string> {
  const { status, stdout, stderr } = await spawner.run(argv);
  if (status !== 0) throw new CommandError(argv, status, stderr, 'it failed');
  return stdout;
}
