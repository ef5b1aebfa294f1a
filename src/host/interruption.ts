import type { ByteSource } from '../bytes/byte-channel.js';

/** The work's outcome, or the signal's reason as soon as it is aborted. The work itself goes on unheard. */
export async function orInterrupted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  // Whichever comes second may fail with nobody left to hear it.
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

/** The same bytes, until the signal is aborted: then its reason is thrown, also while nothing comes. */
export async function* interruptible(source: ByteSource, signal: AbortSignal): ByteSource {
  const pieces = source[Symbol.asyncIterator]();
  let reject: (reason: Error) => void = () => undefined;
  // One listener for all pieces, as there are many: each waits in a promise that it can reject.
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
