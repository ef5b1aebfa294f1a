import { LineError } from '../errors.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import type { LineProgress } from '../session/line-silence.js';

/** How often in a row a run reconnects before it gives up, unless the user says otherwise. */
export const DEFAULT_RETRIES = 5;

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;

/**
 * The policy for connections that break: tries again, up to `retries` times in a row without a checkpoint in between,
 * after pauses of 1, 4, 16 and then 60 seconds. It only retries a session that had begun, and only if the connection
 * failed. Errors that a far side reports, such as refusals, are final; so is a refused login.
 */
export async function withRetries<T>(
  retries: number,
  run: LineProgress,
  env: Surroundings,
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
      env.notice(`${error.message}; ${next}`);
      await wait(pause, env.signal);
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
