import type { ByteSink, ByteSource } from '../bytes/byte-channel.js';
import { TransportError } from '../errors.js';

/** Two ends of a pipe inside this process. */
export interface LocalPipe {
  readonly sink: ByteSink;
  /** Can be read once, by one consumer. */
  readonly source: ByteSource;
  /** Breaks the pipe: the reader throws `error`; what was written and not yet read is dropped. */
  readonly abort: (error: Error) => void;
}

interface Handover {
  /** Null marks the end. */
  readonly piece: Uint8Array | null;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * A pipe without a buffer. A write resolves when the reader asks for the next piece, so a piece is never copied and
 * its memory can be used again. A reader that leaves early breaks the writer.
 */
export function createLocalPipe(): LocalPipe {
  const written: Handover[] = [];
  let held: Handover | null = null;
  let failure: Error | null = null;
  let ending = false;
  let wakeReader: (() => void) | null = null;

  const fail = (error: Error): void => {
    failure ??= error;
    held?.reject(failure);
    for (const handover of written) handover.reject(failure);
    held = null;
    written.length = 0;
    wakeReader?.();
  };

  const offer = (piece: Uint8Array | null): Promise<void> =>
    new Promise((resolve, reject) => {
      if (failure !== null) {
        reject(failure);
        return;
      }
      written.push({ piece, resolve, reject });
      wakeReader?.();
    });

  const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
    held?.resolve();
    held = null;
    while (written.length === 0 && failure === null) {
      await new Promise<void>((resolve) => (wakeReader = resolve));
      wakeReader = null;
    }
    if (failure !== null) throw failure;
    const handover = written.shift();
    if (handover?.piece == null) {
      // The end stays at the head, so that another read returns it again.
      written.unshift({ piece: null, resolve: () => undefined, reject: () => undefined });
      handover?.resolve();
      return { done: true, value: undefined };
    }
    held = handover;
    return { done: false, value: handover.piece };
  };

  const leave = (): Promise<IteratorResult<Uint8Array, undefined>> => {
    fail(new TransportError('the reader stopped reading before the end'));
    return Promise.resolve({ done: true, value: undefined });
  };

  return {
    sink: {
      write: (piece) => {
        if (ending) return Promise.reject(new TransportError('write after the end'));
        return offer(piece);
      },
      end: () => {
        if (ending) return Promise.resolve();
        ending = true;
        return offer(null);
      },
    },
    source: { [Symbol.asyncIterator]: () => ({ next, return: leave }) },
    abort: fail,
  };
}
