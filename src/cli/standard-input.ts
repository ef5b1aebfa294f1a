import { fstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { type ByteSource, piecesOf } from '../bytes/byte-channel.js';
import { DeviceError } from '../errors.js';
import { growPipe } from '../host/system-calls.js';
import { PipeSource } from '../transport/pipe-source.js';
import { sourceFrom } from '../transport/stream-channel.js';

const STDIN = 0;
/** The largest pipe that an ordinary user may ask for: each time that it is full, the processes switch. Bytes. */
const PIPE_SIZE = 1024 * 1024;

/** Standard input as a source; errors use `name` for the source of the bytes. */
export function standardInput(name: string): ByteSource {
  const stats = fstatSync(STDIN);
  if (!stats.isFIFO() && !stats.isSocket()) return sourceFrom(process.stdin, name);
  // If that fails, the pipe only holds less at a time.
  if (stats.isFIFO()) growPipe(STDIN, PIPE_SIZE).catch(() => undefined);
  return new PipeSource(STDIN, name);
}

const READ_SIZE = 1024 * 1024;

/** A stream of bytes that a user named. */
export interface OpenStream {
  readonly source: ByteSource;
  /** For messages. */
  readonly name: string;
  /** The path of a regular file, which can be read again; null for a pipe. */
  readonly file: string | null;
  /** Must be called after use: a stream that was refused is not read to its end. */
  readonly close: () => void;
}

/** Opens FILE, or standard input for `-`, as a stream of bytes. Throws DeviceError. */
export async function openStream(file: string, input: typeof standardInput): Promise<OpenStream> {
  if (file === '-') {
    const name = 'standard input';
    return { source: input(name), name, file: null, close: () => undefined };
  }
  try {
    const opened = await open(file, 'r');
    if ((await opened.stat()).isFile()) {
      const close = () => void opened.close().catch(() => undefined);
      return { source: piecesOf(opened, file), name: file, file, close };
    }
    const stream = opened.createReadStream({ highWaterMark: READ_SIZE });
    return { source: sourceFrom(stream, file), name: file, file: null, close: () => stream.destroy() };
  } catch (error) {
    throw new DeviceError(file, 'open', null, error);
  }
}
