import { readFileSync } from 'node:fs';

/** As much of a command line as fits into a message. */
const MOST_WORDS = 100;

/** A process in words, such as `process 12 (lvcreate -n x vg)`. */
export function describeProcess(pid: number): string {
  const words =
    attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim()) ?? '';
  const name =
    words === '' ? attempt(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()) : shorten(words);
  return name === undefined ? `process ${pid}` : `process ${pid} (${name})`;
}

function shorten(words: string): string {
  return words.length > MOST_WORDS ? `${words.slice(0, MOST_WORDS)}…` : words;
}

/** What others own, and what ends while we look, is passed over. */
export function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
