import { fstatSync } from 'node:fs';
import type { ByteSource } from '../byte-channel.js';
import { growPipe } from '../host/system-calls.js';
import { PipeSource } from '../transport/pipe-source.js';
import { sourceFrom } from '../transport/stream-channel.js';

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
