import { setTimeout as sleep } from 'node:timers/promises';
import { CommandError } from '../errors.js';
import type { CommandResult, RunOptions, Spawner } from '../host/spawner.js';
import { UDEV_ADVICE } from '../host/udev.js';
import { LVM_ENVIRONMENT, CHANGE_SETTINGS, MESSAGE_PREFIX, REPORT_SETTINGS } from './lvm-settings.js';

/** udev reads a device for a moment after it was closed. */
const TRIES = 20;
const PAUSE_MS = 250;

/** One of LVM's programs and its arguments. */
export type LvmWords = readonly [string, ...string[]];

/** Runs one of LVM's reporting programs, independent of the administrator's report settings. Throws CommandError. */
export async function askLvm(spawner: Spawner, words: LvmWords): Promise<CommandResult> {
  return await run(spawner, words, REPORT_SETTINGS, 'question');
}

/** Runs one of LVM's programs that changes something. Throws CommandError with LVM's message if it refuses. */
export async function runLvm(spawner: Spawner, words: LvmWords): Promise<void> {
  const { status, stderr, gaveUp } = await run(spawner, words, CHANGE_SETTINGS, 'change');
  if (status === 0) return;
  const said = wordsOf(stderr);
  // LVM 2.03.16 and 2.03.31 say so if udev did not make the node that they were about to clear.
  const isNoNode = /not found: device not cleared/i.test(said);
  const problem =
    gaveUp ?? (isNoNode ? `LVM found no node for its new volume: ${UDEV_ADVICE}` : 'LVM refused');
  throw new CommandError(words, problem, { status, stderr: said });
}

async function run(
  spawner: Spawner,
  [program, ...words]: LvmWords,
  settings: string,
  watch: RunOptions['watch'] & string,
): Promise<CommandResult> {
  return await spawner.run([program, '--config', settings, ...words], {
    environment: LVM_ENVIRONMENT,
    watch,
  });
}

/**
 * The lines that LVM printed with our settings: lines from before and after, as verbose as its administrator wants,
 * have another prefix. All lines if LVM did not get that far.
 */
export function wordsOf(stderr: string): string {
  const lines = stderr.split('\n');
  // A verbose LVM still uses our prefix when it begins to read its own settings again.
  const ours = lines.filter(
    (line) => line.startsWith(MESSAGE_PREFIX) && !line.includes(' not found in config: '),
  );
  return (ours.length > 0 ? ours : lines).map((line) => line.trim()).join('\n');
}

/** Deletes a volume, `vg/lv`; waits if something has it open for a moment. Throws CommandError. */
export async function removeVolume(spawner: Spawner, fullName: string): Promise<void> {
  await whileBusy(() => runLvm(spawner, ['lvremove', '-qq', '-f', '-y', '--', fullName]));
}

/**
 * Retries work that fails while something is briefly in use. Throws the last error. LVM 2.03.16 and 2.03.31 say "in
 * use"; the kernel's errors, which dmsetup and losetup repeat, say "busy".
 */
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
