import { fstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { ByteSource } from '../bytes/byte-channel.js';
import { DeviceError } from '../errors.js';
import { growPipe } from '../host/system-calls.js';
import { PipeSource } from '../transport/pipe-source.js';
import { sourceFrom } from '../transport/stream-channel.js';
import type { Context } from './context.js';

const STDIN = 0;
/** What a pipe may hold, for an ordinary user too: each time that it is full, both its sides change places. Bytes. */
const PIPE_SIZE = 1024 * 1024;

/** Standard input as a source; `name` says in errors who was read from. */
export function standardInput(name: string): ByteSource {
  const stats = fstatSync(STDIN);
  if (!stats.isFIFO() && !stats.isSocket()) return sourceFrom(process.stdin, name);
  // Without it the pipe only carries less at a time.
  if (stats.isFIFO()) growPipe(STDIN, PIPE_SIZE).catch(() => undefined);
  return new PipeSource(STDIN, name);
}

const READ_SIZE = 1024 * 1024;

/** A stream of bytes that a user named. */
export interface OpenStream {
  readonly source: ByteSource;
  /** For messages. */
  readonly name: string;
  /** The file that it is, which can be read again; null of a pipe. */
  readonly file: string | null;
  /** To be called at the end: a stream that was refused is not read to its own. */
  readonly close: () => void;
}

/** Opens FILE, or standard input for `-`, as a stream of bytes. Throws DeviceError. */
export async function openStream(file: string, context: Context): Promise<OpenStream> {
  if (file === '-') {
    const name = 'standard input';
    return { source: context.input(name), name, file: null, close: () => undefined };
  }
  try {
    const opened = await open(file, 'r');
    const isRegular = (await opened.stat()).isFile();
    const stream = opened.createReadStream({ highWaterMark: READ_SIZE });
    const again = isRegular ? file : null;
    return { source: sourceFrom(stream, file), name: file, file: again, close: () => stream.destroy() };
  } catch (error) {
    throw new DeviceError(file, 'open', null, error);
  }
}
