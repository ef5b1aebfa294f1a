import { stat } from 'node:fs/promises';
import { deviceNumberOf } from '../device/device-facts.js';
import { CommandError, DeviceError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { whileBusy } from './run-lvm.js';

/** How many times another program may take the loop device that we were about to use. */
const TRIES = 10;

/** A file, and how the loop device shows it. */
export interface LoopWish {
  readonly file: string;
  readonly isReadOnly: boolean;
}

/** A loop device of ours. Its path may belong to someone else later, so it is recognized by the file that it shows. */
export interface LoopDevice {
  readonly path: string;
  /**
   * The file's inode and file system, whatever its name is by then, and 1 if it is read-only: as losetup prints them.
   */
  readonly shows: string;
}

/**
 * Shows a file as a loop device, and returns the device's path. `announce` is called before the device is taken, so
 * that a run that is killed in between leaves nothing unknown. Throws CommandError, DeviceError.
 */
export async function attachLoop(
  spawner: Spawner,
  { file, isReadOnly }: LoopWish,
  announce: (loop: LoopDevice) => Promise<void>,
): Promise<string> {
  const shows = `${await identify(file)} ${isReadOnly ? 1 : 0}`;
  for (let tries = 1; ; tries++) {
    const path = (await run(spawner, ['losetup', '-f'])).trim();
    await announce({ path, shows });
    try {
      await run(spawner, ['losetup', ...(isReadOnly ? ['-r'] : []), path, file]);
      return path;
    } catch (error) {
      const isTaken = error instanceof CommandError && /busy/i.test(error.stderr);
      if (!isTaken || tries === TRIES) throw error;
    }
  }
}

/** Detaches a loop device, if it still shows the file that it was made for. Throws CommandError. */
export async function detachLoop(spawner: Spawner, { path, shows }: LoopDevice): Promise<void> {
  const columns = 'NAME,BACK-INO,BACK-MAJ:MIN,RO';
  const listed = await run(spawner, ['losetup', '--list', '--noheadings', '--output', columns]);
  const lines = listed.split('\n').map((line) => line.trim().split(/\s+/).join(' '));
  if (!lines.includes(`${path} ${shows}`)) return;
  await whileBusy(async () => {
    await run(spawner, ['losetup', '-d', path]);
  });
}

async function identify(file: string): Promise<string> {
  try {
    const { ino, dev } = await stat(file, { bigint: true });
    return `${ino} ${deviceNumberOf({ rdev: Number(dev) })}`;
  } catch (error) {
    throw new DeviceError(file, 'stat', null, error);
  }
}

async function run(spawner: Spawner, argv: readonly [string, ...string[]]): Promise<string> {
  const { status, stdout, stderr } = await spawner.run(argv);
  if (status !== 0) throw new CommandError(argv, 'it failed', { status, stderr });
  return stdout;
}
