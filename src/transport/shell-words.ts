import splitOnBlanks from 'string-argv';
import { UsageError } from '../errors.js';

/**
 * Joins words into one string that a POSIX shell splits back into exactly these words. This is the only place where
 * lvmsync builds a string for a shell: sshd passes a command to the far user's shell, whatever the client does.
 *
 * @throws UsageError on a NUL, which no argument can contain.
 */
export function quoteWords(words: readonly string[]): string {
  return words.map((word, index) => quoteWord(word, index === 0)).join(' ');
}

/** One of lvmsync's own commands for a message, safe to paste into a shell. Throws as `quoteWords`. */
export function showCommand(words: readonly string[]): string {
  return words.map((word) => quoteWord(word, false)).join(' ');
}

function quoteWord(word: string, isCommand: boolean): string {
  if (word.includes('\0')) throw new UsageError(`${JSON.stringify(word)}: an argument cannot contain a NUL`);
  // The command name is always quoted: unquoted, it could be a reserved word or an alias.
  if (!isCommand && /^[A-Za-z0-9_/:.,@%+-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** More than lvmsync ever sends. Characters, and words. */
const MOST_TEXT = 16_384;
const MOST_WORDS = 64;

/**
 * Reads what `quoteWords` wrote, and no other shell syntax: words separated by spaces, each made of letters, digits
 * and `_/:.,@%+-`, of `'…'`, and of `\'`. Everything else that a shell would interpret is refused.
 *
 * @throws UsageError, which does not repeat the text.
 */
export function readQuotedWords(text: string): string[] {
  if (text.length > MOST_TEXT) throw new UsageError(`the command is longer than ${MOST_TEXT} characters`);
  const words: string[] = [];
  const item = /( +)|((?:[A-Za-z0-9_/:.,@%+-]+|'[^'\0]*'|\\')+)/y;
  while (item.lastIndex < text.length) {
    const at = item.lastIndex;
    const found = item.exec(text);
    if (found === null) {
      throw new UsageError(`the command contains more than plain and quoted words, at character ${at + 1}`);
    }
    if (found[2] !== undefined) words.push(unquote(found[2]));
    if (words.length > MOST_WORDS) throw new UsageError(`the command has more than ${MOST_WORDS} words`);
  }
  return words;
}

function unquote(word: string): string {
  return word.replace(/'([^']*)'|\\'/g, (_, quoted: string | undefined) => quoted ?? "'");
}

/**
 * Splits an option's value at spaces; single and double quotes keep spaces, and nothing else is special. `option` is
 * the option's name for messages.
 *
 * @throws UsageError if there is no word, or a quote is not closed.
 */
export function splitWords(option: string, text: string): [string, ...string[]] {
  const openQuote = /["']/.exec(text.replace(/"[^"]*"|'[^']*'/g, ''));
  if (openQuote !== null) {
    throw new UsageError(`${option} ${text}: the quote ${openQuote[0]} is never closed`);
  }
  if (text.includes('\0')) throw new UsageError(`${option}: a command cannot contain a NUL`);
  const [command, ...words] = splitOnBlanks(text);
  if (command === undefined || command === '') throw new UsageError(`${option} needs a command`);
  return [command, ...words];
}
