import { PassThrough } from 'node:stream';
import { describe, expect, it, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands/words.js';
import { processContext } from '../../src/cli/context.js';
import { runProgram } from '../../src/cli/program.js';
import { runWords } from '../support/run-program.js';

/** What `--help` prints on a terminal with so many columns. */
async function helpAt(columns: number, ...words: string[]): Promise<string> {
  const { signal } = new AbortController();
  const stdout = Object.assign(new PassThrough(), { isTTY: true, columns });
  const pieces: Buffer[] = [];
  stdout.on('data', (piece: Buffer) => pieces.push(piece));
  expect(await runProgram([...words, '--help'], { ...processContext(signal, signal), stdout })).toBe(0);
  return Buffer.concat(pieces).toString();
}

const wordsOfAll = [[], ...COMMANDS.map((name) => [name])];

describe.each(wordsOfAll)('lvmsync %s --help', (...words) => {
  test.each([80, 60])('fits a terminal of %d columns', async (columns) => {
    const [text = '', examples = ''] = (await helpAt(columns, ...words)).split(/^Examples?:$/m);
    const isTooLong = (line: string) => line.length > columns;
    expect(text.split('\n').filter(isTooLong)).toEqual([]);
    // Examples are not wrapped, because a wrapped one could not be copied.
    if (columns === 80) expect(examples.split('\n').filter(isTooLong)).toEqual([]);
  });

  it('starts with how the command is used, and has each option under a heading', async () => {
    const text = await helpAt(80, ...words);
    expect(text.split('\n')[0]).toMatch(new RegExp(`^Usage: ${['lvmsync', ...words].join(' ')} .*[A-Z]`));
    expect(text).toMatch(/^Output and help:\n(?: .*\n)* {2}-h, --help +print this help\n/m);
    expect(text).not.toMatch(/^Options:/m);
  });

  it('shows choices and defaults as a user writes them', async () => {
    const text = await helpAt(200, ...words);
    expect(text).not.toMatch(/default: *(?:\[|"|none|true|false)|choices:/);
  });
});

test('a choice is shown with its default, and an option that may be repeated without one', async () => {
  const lines = (await helpAt(200)).split('\n');
  expect(lines).toContainEqual(
    expect.stringMatching(/--on-base-mismatch .* \(resend or stop, default: resend\)$/),
  );
  expect(lines).toContainEqual(expect.stringMatching(/--force .* \(TARGET is not .*\)$/));
});

test('the forms of a command are kept whole where the terminal is wide enough', async () => {
  expect(await helpAt(80)).toContain('--cow FILE --origin FILE [HOST:]TARGET|--stdout\n');
  expect(await helpAt(60)).toContain('--cow FILE --origin FILE\n           [HOST:]TARGET|--stdout\n');
});

test('--version prints one line, and is not an error', async () => {
  const { status, stdout } = await runWords(['-V']);
  expect([status, stdout.toString()]).toEqual([0, 'lvmsync 0.0.0-test\n']);
});
