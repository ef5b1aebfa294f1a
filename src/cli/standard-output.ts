import { createWriteStream, fstatSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { isatty } from 'node:tty';
import { describeCause, isErrno, TransportError } from '../errors.js';

const STDOUT = 1;

/** The stream that a command writes its data to. */
export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/**
 * Standard output. For a file we use our own stream, because Node's loses the rest of a short write on a nearly full
 * disk.
 */
export function standardOutput(): Output {
  const stats = fstatSync(STDOUT);
  const isFile = stats.isFile() || (stats.isCharacterDevice() && !isatty(STDOUT));
  return isFile ? createWriteStream('', { fd: STDOUT, autoClose: false }) : process.stdout;
}

/**
 * Writes part of a report, and waits until there is room for more. Never throws: `watchOutput` reports failed writes at
 * the end, so that a reader that closed the pipe does not hide the findings of the command.
 */
export async function print(output: Output, text: string): Promise<void> {
  // After a failed write, a stream to a file keeps what it is given and never calls back: the program would end, with 0.
  if (output.errored !== null) return;
  await new Promise<void>((resolve) => {
    output.write(text, () => {
      resolve();
    });
  });
}

/**
 * Watches everything that a command writes. The returned function waits until it is written, and throws TransportError
 * if a write failed. A reader that closed the pipe is not a failure: it has read what it wanted.
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
    // A stream calls back the failed write first, and emits its 'error' event after that.
    await new Promise(setImmediate);
    const cause = failure ?? last ?? null;
    if (cause === null || isErrno(cause, 'EPIPE')) return;
    throw new TransportError(`cannot write to standard output: ${describeCause(cause)}`, { cause });
  };
}
