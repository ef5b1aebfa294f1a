import { UsageError } from '../../errors.js';
import { suggestionFor } from '../suggest.js';

/** The commands of this version. */
export const COMMANDS = [
  'inspect',
  'copy',
  'pull',
  'receive',
  'recover',
  'send',
  'verify',
  'view',
  'doctor',
  'combine',
  'snapback',
  'archive',
  'restore',
] as const;
export type CommandName = (typeof COMMANDS)[number];

/** Names of commands that later versions may have: until then, a transfer must not read them as a snapshot. */
const RESERVED_NAMES = [...['replicate', 'status', 'promote', 'reverse', 'migrate', 'config', 'timer']];

/** The command that the first argument selects, or null for a transfer. Throws UsageError for a reserved name. */
export function commandNamed(word: string | undefined): CommandName | null {
  if (word !== undefined && RESERVED_NAMES.includes(word)) {
    throw new UsageError(
      `${word}: this version does not have that command yet (see lvmsync --help for the list)`,
    );
  }
  return COMMANDS.find((each) => each === word) ?? null;
}

/** Throws UsageError for a command's name in place of a device or file: the user meant it as the first argument. */
export function refuseCommandNames(positionals: readonly string[]): void {
  for (const word of positionals) {
    if ((COMMANDS as readonly string[]).includes(word) || RESERVED_NAMES.includes(word)) {
      throw new UsageError(
        `${word}: a command must be the first argument (for a file with this name, write ./${word})`,
      );
    }
  }
}

/**
 * Throws UsageError for an empty word, which is what a shell makes of a variable that is not set: as a directory it would
 * mean the one that the user happens to be in.
 */
export function refuseEmpty(words: readonly string[]): void {
  for (const [index, word] of words.entries()) {
    if (word !== '' && !/^--[^=]+=$/.test(word)) continue;
    const option = word === '' ? (words[index - 1] ?? '') : word.slice(0, -1);
    const which = option.startsWith('-') ? `${option}: its value` : 'an argument';
    throw new UsageError(`${which} is empty (is a variable not set?)`);
  }
}

/** Throws UsageError if arguments are left over. */
export function refuseMore(words: readonly string[]): void {
  if (words.length > 0) throw new UsageError(`unexpected argument: ${words.join(' ')}`);
}

/** The value of an option that must be given. Throws UsageError. */
export function required(value: string | undefined, option: string, command: CommandName): string {
  if (value !== undefined) return value;
  throw new UsageError(`missing option: ${option} (see lvmsync ${command} --help)`);
}

/** The error for a word that is not an action of the command. */
export function unknownAction(
  command: CommandName,
  word: string,
  actions: readonly [string, ...string[]],
): UsageError {
  const expected = `expected ${actions.slice(0, -1).join(', ')} or ${actions.at(-1) ?? ''}`;
  return new UsageError(
    `${word}: unknown action${suggestionFor(word, actions)}: ${expected} (see lvmsync ${command} --help)`,
  );
}
