import { createWriteStream, fstatSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { isatty } from 'node:tty';
import { describeCause, isErrno, TransportError } from '../errors.js';

const STDOUT = 1;

/** What a command writes its data to. */
export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Standard output. For a file it is a stream of our own, as Node's loses what a write on a nearly full disk left over. */
export function standardOutput(): Output {
  const stats = fstatSync(STDOUT);
  const isFile = stats.isFile() || (stats.isCharacterDevice() && !isatty(STDOUT));
  return isFile ? createWriteStream('', { fd: STDOUT, autoClose: false }) : process.stdout;
}

/**
 * Writes part of a report, and waits until there is room for more. What could not be written is told at the end, by the
 * watch over the output: a reader that had enough must not hide what the command has found.
 */
export async function print(output: Output, text: string): Promise<void> {
  await new Promise<void>((resolve) => {
    output.write(text, () => {
      resolve();
    });
  });
}

/**
 * Watches all that a command writes. The function that is returned waits until it is written, and throws TransportError
 * where some of it could not be. A reader that went away does not count: it had enough.
 */
export function watchOutput(output: Output): () => Promise<void> {
  let failure: unknown = null;
  output.on('error', (error) => (failure ??= error));
  return async () => {
    const last = await new Promise<unknown>((resolve) => {
      if (failure !== null || output.destroyed) resolve(null);
      else if (output.writableEnded) resolve(null);
      else output.write('', resolve);
    });
    // A stream tells whoever waits for a write first, and then everybody what was wrong with it.
    await new Promise(setImmediate);
    const cause = failure ?? last ?? null;
    if (cause === null || isErrno(cause, 'EPIPE')) return;
    throw new TransportError(`standard output takes no more data: ${describeCause(cause)}`, { cause });
  };
}
