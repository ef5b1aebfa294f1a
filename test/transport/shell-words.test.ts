import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { quoteWords, readQuotedWords, splitWords } from '../../src/transport/shell-words.js';
import { ANY_CHARACTER } from '../support/any-character.js';

/** What a real shell makes of command strings: each must be a printf that ends its words with NULs. */
function runInShell(script: string): string[] {
  const output = execFileSync('/bin/sh', [], { input: script, maxBuffer: 64 * 1024 * 1024 }).toString();
  return output.split('\0').slice(0, -1);
}

const AWKWARD = [
  '',
  ' ',
  '-n',
  '--',
  "it's",
  '"',
  '\\',
  '\\\\n',
  '$(echo run)',
  '`echo run`',
  '$HOME',
  '~',
  '*',
  '?',
  '[a]',
  '{a,b}',
  '!!',
  '#x',
  'a;b',
  'a&b|c>d<e',
  'a\nb',
  '\n',
  '\t',
  '\r',
  'A=b',
  'größe-Ω-語-🧲',
  "'",
  "''",
  "\\'",
];

describe('words quoted for a shell', () => {
  it('are read back by a real shell exactly, whatever they hold', () => {
    const word = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom(...AWKWARD));
    const cases = fc.sample(fc.array(word.filter((text) => !text.includes('\0'))), 500);
    cases.push(AWKWARD);

    // One shell for all cases: each is a command of its own, on lines of its own.
    const script = cases.map((words) => `${quoteWords(['printf', '%s\\0', '<', ...words, '>'])}\n`).join('');
    expect(runInShell(script)).toEqual(cases.flatMap((words) => ['<', ...words, '>']));
  });

  it('name a command even where the name is a reserved word or looks like an assignment', () => {
    expect(() => runInShell(`${quoteWords(['if'])} 2>&-\n`)).toThrow(/status 127|Command failed/);
    expect(quoteWords(['A=b', 'A=b'])).toBe("'A=b' 'A=b'");
  });

  it('stay readable where nothing needs a quote', () => {
    expect(quoteWords(['lvmsync', 'receive', '--', '/dev/vg0/my-lv_1'])).toBe(
      "'lvmsync' receive -- /dev/vg0/my-lv_1",
    );
  });

  it('cannot contain a NUL', () => {
    expect(() => quoteWords(['a\0b'])).toThrow(UsageError);
  });
});

describe('quoted words, read again', () => {
  const anyWord = fc.oneof(fc.string({ unit: ANY_CHARACTER, maxLength: 40 }), fc.constantFrom(...AWKWARD));
  const words = fc.array(
    anyWord.filter((text) => !text.includes('\0')),
    { minLength: 1, maxLength: 12 },
  );

  it('are the words that were quoted', () => {
    fc.assert(
      fc.property(words, (all) => {
        expect(readQuotedWords(quoteWords(all))).toEqual(all);
      }),
    );
    expect(readQuotedWords('')).toEqual([]);
  });

  it('are what a real shell makes of any text that is taken', () => {
    const piece = fc.oneof(
      fc.constantFrom("'", "'", ' ', '  ', '\\', "\\'", "'a b'", "'$(x)'"),
      fc.constantFrom('a', '/', '-', '$', '`', ';', '*', '"', '\n', '#', '=', '~'),
    );
    const texts = fc
      .sample(fc.array(piece, { maxLength: 8 }), 6000)
      .map((pieces) => pieces.join(''))
      .filter((text) => take(text) !== null);
    expect(texts.length).toBeGreaterThan(300);
    const script = texts.map((text) => `printf '%s\\0' '<' ${text} '>'\n`).join('');
    expect(runInShell(script)).toEqual(texts.flatMap((text) => ['<', ...(take(text) ?? []), '>']));
  });

  it('are nothing where anything else stands outside of quotes', () => {
    const plain = /[A-Za-z0-9_/:.,@%+' -]/;
    const other = fc
      .string({ unit: ANY_CHARACTER, minLength: 1, maxLength: 1 })
      .filter((text) => !plain.test(text));
    fc.assert(
      fc.property(words, other, words, (before, character, after) => {
        // With no blank before it, \\' would be a quoted quote.
        const text = `${quoteWords(before)} ${character} ${quoteWords(after)}`;
        expect(() => readQuotedWords(text)).toThrow(UsageError);
        expect(() => readQuotedWords(text)).not.toThrow(/[^ -~]/);
      }),
    );
  });

  it.each([
    ...[
      'a $(id)',
      'a `id`',
      'a;id',
      'a|id',
      'a&',
      'a\nid',
      'a >x',
      'a *',
      'a ?',
      'a ~',
      'a #',
      'a "b"',
      'a=b',
    ],
    ...["a 'open", "a 'it''s' '", 'a \\', 'a \\n', 'a\tb', 'a {b,c}', 'a [b]', 'a !!', "a '\0'"],
    ...['x'.repeat(20_000), 'x '.repeat(100)],
  ])('are nothing in %j', (text) => {
    expect(() => readQuotedWords(text)).toThrow(UsageError);
  });
});

function take(text: string): string[] | null {
  try {
    return readQuotedWords(text);
  } catch {
    return null;
  }
}

describe('the words of --rsh', () => {
  it.each([
    ['ssh', ['ssh']],
    ['  ssh   -C\t-p 2222 ', ['ssh', '-C', '-p', '2222']],
    [`ssh -o 'ProxyCommand=nc -x proxy %h %p'`, ['ssh', '-o', 'ProxyCommand=nc -x proxy %h %p']],
    [`ssh -i "/home/a b/key"`, ['ssh', '-i', '/home/a b/key']],
    [`ssh -o"A b"=c ''`, ['ssh', '-oA b=c', '']],
    [`ssh $HOME \`id\` ; x`, ['ssh', '$HOME', '`id`', ';', 'x']],
    [`ssh "it's"`, ['ssh', "it's"]],
  ])('%s', (text, words) => {
    expect(splitWords('--rsh', text)).toEqual(words);
  });

  it.each([
    ['', /needs a command/],
    [' \t ', /needs a command/],
    [`'' -x`, /needs a command/],
    [`ssh 'open`, /never closed/],
    [`ssh "it's`, /never closed/],
    [`ssh "a" b'`, /never closed/],
    ['ssh\0', /NUL/],
  ])('%j is refused', (text, message) => {
    expect(() => splitWords('--rsh', text)).toThrow(UsageError);
    expect(() => splitWords('--rsh', text)).toThrow(message);
  });

  it('come out as they went in when each is quoted', () => {
    const word = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !/["\0]/.test(text));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1 }), (words) => {
        expect(splitWords('--rsh', words.map((text) => `"${text}"`).join(' '))).toEqual(words);
      }),
    );
  });
});
