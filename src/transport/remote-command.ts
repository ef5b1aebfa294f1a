import { UsageError } from '../errors.js';

/** How lvmsync is started on another host. */
export interface FarCommand {
  /** Words before everything else, such as `nice -n 10`. They apply to sudo and what it starts. */
  readonly prefix: readonly string[];
  /** Whether sudo starts it, without ever asking for a password. */
  readonly sudo: boolean;
  /** Where it lies; null where its PATH finds it. */
  readonly path: string | null;
}

export const PLAIN_FAR_COMMAND: FarCommand = { prefix: [], sudo: false, path: null };

const SUDO_WORDS = ['sudo', '-n', '--'];

/**
 * All words of a far command. The prefix comes first, so that the line in sudoers needs to name lvmsync alone: what
 * nice and ionice set is inherited through sudo.
 */
export function buildFarCommand({ prefix, sudo, path }: FarCommand, words: readonly string[]): string[] {
  return [...prefix, ...(sudo ? SUDO_WORDS : []), path ?? 'lvmsync', ...words];
}

/** The words for lvmsync that make it the far side of a PROTO[4] session. */
export function receiveWords(target: string, options: readonly string[]): string[] {
  return ['receive', ...options, '--', target];
}

/** The words for lvmsync that make it the far side of a pull. */
export function sendWords(snapshot: string, options: readonly string[]): string[] {
  return ['send', ...options, '--', snapshot];
}

/** The words for lvmsync that make it the far side of a read-only session. */
export function answerWords(target: string): string[] {
  return ['receive', '--read-only', '--', target];
}

/**
 * The words for a Ruby lvmsync that make it the far side of PROTO[3]: exactly those that the Ruby tool sends itself.
 *
 * @throws UsageError on a device that the far side would take for an option.
 */
export function applyWords(device: string, snapback: string | null): string[] {
  if (device.startsWith('-')) {
    throw new UsageError(`${device}: a Ruby lvmsync takes a device that begins with a dash for an option`);
  }
  return ['--apply', '-', ...(snapback === null ? [] : ['--snapback', snapback]), device];
}

/**
 * The words for lvmsync in a command that `buildFarCommand` may have made; null where it is anything else. Before
 * them come, in this order: any of `nice` and `ionice` with options that are a letter and a number at most; `sudo -n
 * --`; `lvmsync`, or a path from / on whose last part that is. Nothing of it is run or looked at on disk.
 */
export function takeFarCommand(words: readonly string[]): string[] | null {
  let at = 0;
  while (words[at] === 'nice' || words[at] === 'ionice') {
    at += 1;
    while (/^(-[a-z]?\d*|\d+)$/.test(words[at] ?? '')) at += 1;
  }
  if (SUDO_WORDS.every((word, index) => words[at + index] === word)) at += SUDO_WORDS.length;
  return /^(\/.*\/|\/)?lvmsync$/s.test(words[at] ?? '') ? words.slice(at + 1) : null;
}
