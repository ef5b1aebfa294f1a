import { LineError } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import type { LineProgress } from '../session/line-silence.js';

/** How often a broken line is replaced before the run gives up, unless the user says otherwise. */
export const DEFAULT_RETRIES = 5;

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;

/**
 * The one policy for lines that break: tries again, up to `retries` times in a row without a checkpoint between,
 * after pauses of 1, 4, 16 and then 60 seconds. Only a session that once began is worth it, and only where the line
 * failed: whatever a far side says, refusals above all, stands; so does a login that is refused.
 */
export async function withRetries<T>(
  retries: number,
  run: LineProgress,
  about: Surroundings,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let failed = 0; ;) {
    const checkpoints = run.checkpoints;
    try {
      return await attempt();
    } catch (error) {
      if (run.checkpoints > checkpoints) failed = 0;
      if (!(error instanceof LineError) || !run.hasBegun || failed === retries) throw error;
      const pause = Math.min(FIRST_PAUSE_MS * 4 ** failed, LONGEST_PAUSE_MS);
      failed += 1;
      const next = `trying again in ${pause / 1000} s (${failed} of ${retries})`;
      about.notice(`${error.message}; ${next}`);
      await wait(pause, about.signal);
    }
  }
}

async function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    await orInterrupted(new Promise((resolve) => (timer = setTimeout(resolve, milliseconds))), signal);
  } finally {
    clearTimeout(timer);
  }
}
