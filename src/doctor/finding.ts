import * as v from 'valibot';

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
