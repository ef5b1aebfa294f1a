import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

/** Receives one line of a far side's stderr: no line end, no control characters, at most `LINE_LIMIT` characters. */
export type LineListener = (line: string) => void;

/** Characters of a line that are passed on; the rest is dropped. */
export const LINE_LIMIT = 1_000;

/**
 * Reads a far side's stderr to its end and passes it on line by line. The far side is not trusted with the user's
 * terminal, so escape sequences and the like become visible text. Resolves at the end; never rejects.
 */
export function passOnLines(stderr: Readable, listener: LineListener): Promise<void> {
  const decoder = new StringDecoder('utf8');
  let open = '';

  const take = (text: string): void => {
    const lines = (open + text).split(/\r?\n|\r/);
    const last = lines.pop() ?? '';
    for (const line of lines) if (line !== '') listener(showLine(line));
    // One more than is shown, so that showLine can tell that the line was cut.
    open = last.slice(0, LINE_LIMIT + 1);
  };

  return new Promise((resolve) => {
    let done = false;
    const finish = (): void => {
      if (done) return;
      done = true;
      take(decoder.end());
      if (open !== '') listener(showLine(open));
      resolve();
    };
    stderr.on('data', (piece: Buffer) => {
      take(decoder.write(piece));
    });
    stderr.once('end', finish).once('close', finish).once('error', finish);
  });
}

function showLine(line: string): string {
  const shown = line.length > LINE_LIMIT ? `${line.slice(0, LINE_LIMIT)}…` : line;
  return makeHarmless(shown);
}

/**
 * Shows control characters (C0 except the tab, DEL, C1) and those that change the text direction as visible escapes.
 */
export function makeHarmless(text: string): string {
  return text.replace(/(?!\t)\p{Cc}|[\u2028-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });
}
