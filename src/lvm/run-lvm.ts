import { setTimeout as sleep } from 'node:timers/promises';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';

/** udev looks into a device for a moment after it was closed. */
const TRIES = 20;
const PAUSE_MS = 250;

/** Runs one of LVM's programs. Throws CommandError with what it said where it refuses. */
export async function runLvm(spawner: Spawner, argv: readonly [string, ...string[]]): Promise<void> {
  const { status, stderr } = await spawner.run(argv);
  if (status !== 0) throw new CommandError(argv, status, stderr, 'LVM refused');
}

/** Removes a volume for good, `vg/lv`; whoever has it open for a moment is waited for. Throws CommandError. */
export async function removeVolume(spawner: Spawner, fullName: string): Promise<void> {
  await whileBusy(() => runLvm(spawner, ['lvremove', '-qq', '-f', '-y', fullName]));
}

/** Does what fails while something is in use for a moment, several times if need be. Throws what the last one threw. */
export async function whileBusy(work: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await work();
      return;
    } catch (error) {
      const isBusy = error instanceof CommandError && /in use|busy/i.test(error.stderr);
      if (tries === TRIES || !isBusy) throw error;
    }
    await sleep(PAUSE_MS);
  }
}
