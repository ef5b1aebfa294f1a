import type { ByteSource } from '../bytes/byte-channel.js';

/**
 * The work's outcome. Throws the signal's reason as soon as it is aborted; the work continues, but its outcome is
 * ignored.
 */
export async function orInterrupted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  // Work that fails after the interruption must not become an unhandled rejection.
  work.catch(() => undefined);
  signal.throwIfAborted();
  let stop: () => void = () => undefined;
  const interrupted = new Promise<never>((_resolve, reject) => {
    stop = () => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, interrupted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** The same bytes. Throws the signal's reason once it is aborted, even while no bytes come. */
export async function* interruptible(source: ByteSource, signal: AbortSignal): ByteSource {
  const pieces = source[Symbol.asyncIterator]();
  let reject: (reason: Error) => void = () => undefined;
  // One listener for all pieces, because there are many: it rejects the promise of the piece that is waited for.
  const stop = () => {
    reject(signal.reason as Error);
  };
  signal.addEventListener('abort', stop);
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await new Promise<IteratorResult<Uint8Array, unknown>>((resolve, fail) => {
        reject = fail;
        pieces.next().then(resolve, fail);
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
