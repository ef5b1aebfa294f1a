import { existsSync } from 'node:fs';
import { Command, CommanderError } from '@commander-js/extra-typings';

/* What a user may have meant by a mistyped word. Commander decides what resembles it, as for mistyped options. */

/** Commander puts its suggestion on a line of its own. */
const SUGGESTION = /\n\(Did you mean (.*)\?\)$/;

/** The message of Commander in one line; without a suggestion it names the help. */
export function describeMisuse(error: CommanderError, program: string): string {
  const message = error.message.replace(/^error: /, '').replace(/\.$/, '');
  if (SUGGESTION.test(message)) return message.replace(SUGGESTION, ' (did you mean $1?)');
  return `${message} (see ${program} --help)`;
}

/** ` (did you mean NAME?)` for the names that resemble the word, or nothing. */
export function suggestionFor(word: string, names: readonly string[]): string {
  const guesser = new Command()
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  for (const name of names) guesser.command(name);
  try {
    guesser.parse(['--', word], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const [, meant] = SUGGESTION.exec(error.message) ?? [];
    if (meant !== undefined) return ` (did you mean ${meant}?)`;
  }
  return '';
}

/** The same for the first word of a transfer that failed. A device or file, and a name with a slash, is no command. */
export function commandMeant(word: string, commands: readonly string[]): string {
  if (word.startsWith('-') || word.includes('/') || existsSync(word)) return '';
  return suggestionFor(word, commands);
}
