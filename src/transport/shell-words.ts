import splitOnBlanks from 'string-argv';
import { UsageError } from '../errors.js';

/**
 * Writes words as one string that a POSIX shell reads back as exactly these words. The only place where lvmsync
 * makes a string for a shell: sshd hands a command to the far user's shell, whatever the client does.
 *
 * @throws UsageError on a NUL, which no argument can hold.
 */
export function quoteWords(words: readonly string[]): string {
  return words.map((word, index) => quoteWord(word, index === 0)).join(' ');
}

/** A command of lvmsync's own for a message, which its reader may give to a shell. Throws as `quoteWords`. */
export function showCommand(words: readonly string[]): string {
  return words.map((word) => quoteWord(word, false)).join(' ');
}

function quoteWord(word: string, isCommand: boolean): string {
  if (word.includes('\0')) throw new UsageError(`${JSON.stringify(word)}: an argument cannot hold a NUL`);
  // The command's own name is always quoted: bare, it could be a reserved word or an alias.
  if (!isCommand && /^[A-Za-z0-9_/:.,@%+-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** More than any lvmsync ever sends. Characters, and words. */
const MOST_TEXT = 16_384;
const MOST_WORDS = 64;

/**
 * Reads what `quoteWords` wrote, and no more of the shell's language than that: words apart by blanks, each made of
 * letters, digits and `_/:.,@%+-`, of `'…'`, and of `\'`. All else that a shell would do something with is refused.
 *
 * @throws UsageError, which does not repeat the text.
 */
export function readQuotedWords(text: string): string[] {
  if (text.length > MOST_TEXT) throw new UsageError(`a command of more than ${MOST_TEXT} characters`);
  const words: string[] = [];
  const item = /( +)|((?:[A-Za-z0-9_/:.,@%+-]+|'[^'\0]*'|\\')+)/y;
  while (item.lastIndex < text.length) {
    const at = item.lastIndex;
    const found = item.exec(text);
    if (found === null) {
      throw new UsageError(`a command with more than plain and quoted words in it, at character ${at + 1}`);
    }
    if (found[2] !== undefined) words.push(unquote(found[2]));
    if (words.length > MOST_WORDS) throw new UsageError(`a command of more than ${MOST_WORDS} words`);
  }
  return words;
}

function unquote(word: string): string {
  return word.replace(/'([^']*)'|\\'/g, (_, quoted: string | undefined) => quoted ?? "'");
}

/**
 * Splits an option's value on blanks; single and double quotes keep blanks, nothing else is special. `option` names
 * it in messages.
 *
 * @throws UsageError when no word is there, or a quote is left open.
 */
export function splitWords(option: string, text: string): [string, ...string[]] {
  const openQuote = /["']/.exec(text.replace(/"[^"]*"|'[^']*'/g, ''));
  if (openQuote !== null) {
    throw new UsageError(`${option} ${text}: the quote ${openQuote[0]} is never closed`);
  }
  if (text.includes('\0')) throw new UsageError(`${option}: a command cannot hold a NUL`);
  const [command, ...words] = splitOnBlanks(text);
  if (command === undefined || command === '') throw new UsageError(`${option} needs a command`);
  return [command, ...words];
}
