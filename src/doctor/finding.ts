import * as v from 'valibot';
import type { Spawner } from '../host/spawner.js';
import { within } from '../session/sender.js';

/** The result of examining one thing. */
export const findingSchema = v.object({
  /** The thing, in a word or two. */
  check: v.pipe(v.string(), v.maxLength(64)),
  verdict: v.picklist(['ok', 'warning', 'problem']),
  text: v.pipe(v.string(), v.maxLength(4096)),
  /** What to do about it; null if nothing is wrong. */
  advice: v.nullable(v.pipe(v.string(), v.maxLength(4096))),
});

export type Finding = v.InferOutput<typeof findingSchema>;

export function ok(check: string, text: string): Finding {
  return { check, verdict: 'ok', text, advice: null };
}

export function warning(check: string, text: string, advice: string): Finding {
  return { check, verdict: 'warning', text, advice };
}

export function problem(check: string, text: string, advice: string): Finding {
  return { check, verdict: 'problem', text, advice };
}

/** The most names in one line. */
const MOST_NAMES = 5;

/** Names for a sentence; if there are many, the first ones and the number of the others. */
export function listNames(names: readonly string[]): string {
  const shown = names.slice(0, MOST_NAMES).join(', ');
  return names.length <= MOST_NAMES ? shown : `${shown} and ${names.length - MOST_NAMES} more`;
}

/** The limit for each program, and for each look at devices and folders. Milliseconds. */
const PATIENCE_MS = 5000;

/** A spawner that gives up on each program after `PATIENCE_MS`. */
export function impatient(spawner: Spawner): Spawner {
  return {
    run: (argv, options) => spawner.run(argv, { watch: 'question', ...options, patienceMs: PATIENCE_MS }),
    start: (argv) => spawner.start(argv),
  };
}

/**
 * The result of a look. If the look takes too long, `instead` makes the result of a finding that a disk or a server
 * hangs.
 */
export async function orSlow<T>(check: string, look: Promise<T>, instead: (slow: Finding) => T): Promise<T> {
  const found = await within(PATIENCE_MS, look);
  if (found !== null) return found;
  const text = `nothing answers within ${PATIENCE_MS / 1000} s: a disk or a file server hangs`;
  return instead(problem(check, text, 'look at "dmesg"'));
}
