import { existsSync } from 'node:fs';
import type { CommanderError } from '@commander-js/extra-typings';

/* What a user may have meant by a mistyped word. */

/** Commander suggests options, on a line of its own. */
const SUGGESTION = /\n\(Did you mean (.*)\?\)$/;

/** The message of Commander in one line; without a suggestion it names the help. */
export function describeMisuse(error: CommanderError, program: string): string {
  const message = error.message.replace(/^error: /, '').replace(/\.$/, '');
  if (SUGGESTION.test(message)) return message.replace(SUGGESTION, ' (did you mean $1?)');
  return `${message} (see ${program} --help)`;
}

/** ` (did you mean NAME?)` for the names that resemble the word most, or nothing. */
export function suggestionFor(word: string, names: readonly string[]): string {
  for (const edits of [1, 2]) {
    // Short names would otherwise resemble almost anything: "snap" is not a mistyped "send".
    const similar = names.filter((name) => edits <= name.length / 3 && isWithin(word, name, edits));
    if (similar.length > 0) return ` (did you mean ${similar.join(' or ')}?)`;
  }
  return '';
}

/**
 * The same for the first word of a transfer that failed. A file that exists and a name with a slash are not commands.
 */
export function commandMeant(word: string, commands: readonly string[]): string {
  if (word.startsWith('-') || word.includes('/') || existsSync(word)) return '';
  return suggestionFor(word, commands);
}

/** Whether so many edits turn one word into the other: a letter added, dropped or replaced, or two swapped. */
function isWithin(a: string, b: string, edits: number): boolean {
  if (a === b) return true;
  if (edits === 0) return false;
  let same = 0;
  while (a[same] === b[same]) same += 1;
  const [restOfA, restOfB] = [a.slice(same), b.slice(same)];
  const [[a0, a1], [b0, b1]] = [restOfA, restOfB];
  const isSwapped = a0 === b1 && a1 === b0;
  return (
    isWithin(restOfA.slice(1), restOfB, edits - 1) ||
    isWithin(restOfA, restOfB.slice(1), edits - 1) ||
    isWithin(restOfA.slice(1), restOfB.slice(1), edits - 1) ||
    (isSwapped && isWithin(restOfA.slice(2), restOfB.slice(2), edits - 1))
  );
}
