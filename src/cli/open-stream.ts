import { open } from 'node:fs/promises';
import type { ByteSource } from '../byte-channel.js';
import { DeviceError } from '../errors.js';
import { sourceFrom } from '../transport/stream-channel.js';
import type { Context } from './context.js';

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
