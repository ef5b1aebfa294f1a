import { PassThrough, Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LINE_LIMIT, makeHarmless, passOnLines } from '../../src/transport/stderr-lines.js';
import { ANY_CHARACTER } from '../support/any-character.js';

async function linesOf(...pieces: (string | Buffer)[]): Promise<string[]> {
  const lines: string[] = [];
  await passOnLines(Readable.from(pieces.map((piece) => Buffer.from(piece as string))), (line) =>
    lines.push(line),
  );
  return lines;
}

describe("a far side's stderr", () => {
  it('is split into lines, wherever it was cut', async () => {
    expect(await linesOf('on', 'e\ntwo\r\nthr', 'ee')).toEqual(['one', 'two', 'three']);
  });

  it('keeps characters whole that are split between two pieces', async () => {
    const bytes = Buffer.from('größe\n');
    expect(await linesOf(bytes.subarray(0, 3), bytes.subarray(3))).toEqual(['größe']);
  });

  it('cannot steer the terminal', async () => {
    expect(await linesOf('\u001b]0;title\u0007\u009b2Jred\u0000\n')).toEqual([
      '\\x1b]0;title\\x07\\x9b2Jred\\x00',
    ]);
    expect(makeHarmless('a\u202eb\u2066c\td')).toBe('a\\u202eb\\u2066c\td');
  });

  it('is capped in length, in memory too', async () => {
    const [line, ...rest] = await linesOf(
      ...Array.from({ length: 100 }, () => 'x'.repeat(10_000)),
      '\nend\n',
    );
    expect(line).toBe(`${'x'.repeat(LINE_LIMIT)}…`);
    expect(rest).toEqual(['end']);
  });

  it('is shown up to where it breaks off', async () => {
    const stream = new PassThrough();
    const lines: string[] = [];
    const done = passOnLines(stream, (line) => lines.push(line));
    stream.once('data', () => stream.destroy(new Error('gone')));
    stream.write('half a li');
    await done;
    expect(lines).toEqual(['half a li']);
  });

  it('has no control character left except for the tab', () => {
    fc.assert(
      fc.property(fc.string({ unit: ANY_CHARACTER }), (text) => {
        expect(makeHarmless(text).replaceAll('\t', '')).not.toMatch(/\p{Cc}/u);
      }),
    );
  });
});
