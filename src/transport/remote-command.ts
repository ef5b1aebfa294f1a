import { UsageError } from '../errors.js';

/** How lvmsync is started on another host. */
export interface FarCommand {
  /** Words before everything else, such as `nice -n 10`. They apply to sudo and what it starts. */
  readonly prefix: readonly string[];
  /** Whether sudo starts it, without ever asking for a password. */
  readonly sudo: boolean;
  /** The path of lvmsync there; null if the PATH there finds it. */
  readonly path: string | null;
}

export const PLAIN_FAR_COMMAND: FarCommand = { prefix: [], sudo: false, path: null };

const SUDO_WORDS = ['sudo', '-n', '--'];

/**
 * All words of a far command. The prefix comes first, so that the line in sudoers has to list only lvmsync: sudo
 * inherits what nice and ionice set.
 */
export function buildFarCommand({ prefix, sudo, path }: FarCommand, words: readonly string[]): string[] {
  return [...prefix, ...(sudo ? SUDO_WORDS : []), path ?? 'lvmsync', ...words];
}

/** The arguments that make lvmsync the far side of a PROTO[4] session. */
export function receiveWords(target: string, options: readonly string[]): string[] {
  return ['receive', ...options, '--', target];
}

/** The arguments that make lvmsync the far side of a pull. */
export function sendWords(snapshot: string, options: readonly string[]): string[] {
  return ['send', ...options, '--', snapshot];
}

/** The arguments that make lvmsync the far side of a read-only session. */
export function answerWords(target: string): string[] {
  return ['receive', '--read-only', '--', target];
}

/**
 * The arguments that make a Ruby lvmsync the far side of PROTO[3]: exactly those that the Ruby tool itself sends.
 *
 * @throws UsageError if the far side would read the device as an option.
 */
export function applyWords(device: string, snapback: string | null): string[] {
  if (device.startsWith('-')) {
    throw new UsageError(
      `${device}: a Ruby lvmsync would read a device that begins with a dash as an option`,
    );
  }
  return ['--apply', '-', ...(snapback === null ? [] : ['--snapback', snapback]), device];
}

/**
 * The arguments for lvmsync in a command that `buildFarCommand` may have built; null for any other command. Before
 * them may come, in this order: any of `nice` and `ionice`, with options of a letter and a number at most; `sudo -n
 * --`; then `lvmsync`, or an absolute path that ends in it. Nothing is run, and no file is looked up.
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
