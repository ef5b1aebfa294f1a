import type { Spawner } from '../host/spawner.js';
import { within } from '../session/sender.js';
import { problem, type Finding } from './finding.js';

/** So long each program, and each look at devices and folders, may take. Milliseconds. */
const PATIENCE_MS = 5000;

/** Asks the same programs, and gives each of them up after some seconds. */
export function impatient(spawner: Spawner): Spawner {
  return {
    run: (argv, options) => spawner.run(argv, { watch: 'question', ...options, patienceMs: PATIENCE_MS }),
    start: (argv) => spawner.start(argv),
  };
}

/** What a look found; or, where it does not end in time, what is made of the finding that a disk or a server hangs. */
export async function orSlow<T>(check: string, look: Promise<T>, instead: (slow: Finding) => T): Promise<T> {
  const found = await within(PATIENCE_MS, look);
  if (found !== null) return found;
  const text = `nothing answers within ${PATIENCE_MS / 1000} s: a disk or a file server hangs`;
  return instead(problem(check, text, 'look at "dmesg"'));
}
