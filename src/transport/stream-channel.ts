import type { Readable, Writable } from 'node:stream';
import type { ByteSink, ByteSource } from '../bytes/byte-channel.js';
import { describeCause, TransportError } from '../errors.js';

/** A sink that can be told from outside that its reader is gone. */
export interface BreakableSink extends ByteSink {
  /** Rejects the waiting writes and all later ones. The first error stays. */
  break(error: TransportError): void;
}

/**
 * A Node stream as a sink. A write waits for its callback or for the end of the stream, whichever comes first: a pipe
 * or channel whose reader went away often never calls back. `name` is the name of the reader in errors.
 */
export function sinkFrom(writable: Writable, name: string): BreakableSink {
  const waiting = new Set<(error: TransportError) => void>();
  let broken: TransportError | null = null;
  let ended = false;

  const breakWith = (error: TransportError): void => {
    broken ??= error;
    for (const reject of waiting) reject(broken);
    waiting.clear();
  };
  const describe = (cause: unknown): TransportError =>
    new TransportError(`${name} accepts no more data: ${describeCause(cause)}`, { cause });

  writable.on('error', (error) => {
    breakWith(describe(error));
  });
  writable.once('close', () => {
    breakWith(new TransportError(`${name} accepts no more data: it closed its end`));
  });

  const run = (start: (done: (error?: Error | null) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      if (broken === null && (writable.destroyed || writable.writableEnded)) {
        broken = new TransportError(`${name} accepts no more data: it was closed`);
      }
      if (broken !== null) {
        reject(broken);
        return;
      }
      waiting.add(reject);
      start((error) => {
        waiting.delete(reject);
        if (error) reject(broken ?? describe(error));
        else resolve();
      });
    });

  return {
    write: (piece) =>
      run((done) => {
        writable.write(piece, done);
      }),
    end: () => {
      if (ended) return Promise.resolve();
      return run((done) => {
        ended = true;
        writable.end(done);
      });
    },
    break: breakWith,
  };
}

/**
 * A Node stream as a source, to be read once. If the consumer leaves early, the rest of the stream is read and
 * dropped, so that its writer can finish normally; destroy the stream to cut it. `name` is the name of the writer in
 * errors; `checkEnd` may throw if an end that looks clean is not one.
 */
export function sourceFrom(readable: Readable, name: string, checkEnd?: () => void): ByteSource {
  // An error before the first read must wait for its reader, not end the process.
  readable.on('error', () => undefined);
  return readPieces(readable, name, checkEnd);
}

async function* readPieces(readable: Readable, name: string, checkEnd?: () => void): ByteSource {
  const pieces: AsyncIterable<Uint8Array> = readable.iterator({ destroyOnReturn: false });
  try {
    yield* pieces;
    checkEnd?.();
  } catch (cause) {
    if (cause instanceof TransportError) throw cause;
    const problem = isPrematureClose(cause) ? 'it was closed too early' : describeCause(cause);
    throw new TransportError(`reading from ${name} failed: ${problem}`, { cause });
  } finally {
    readable.resume();
  }
}

function isPrematureClose(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ERR_STREAM_PREMATURE_CLOSE';
}
