import type { ByteSource } from '../../../src/bytes/byte-channel.js';
import { TransportError } from '../../../src/errors.js';
import type { FarSide } from '../../../src/session/sender.js';
import { createLocalPipe } from '../../../src/transport/local-pipe.js';
import { explainEndAfter } from '../far-end.js';
import { sourceOf } from '../streams.js';

/**
 * A far side that takes whatever it is sent, says just these bytes, and ends with this status, having said these lines
 * on stderr.
 */
export function scriptedFarSide(
  says: Uint8Array,
  status: number | null = 0,
  ...lines: readonly string[]
): FarSide {
  const pipe = createLocalPipe();
  const taken = takeAll(pipe.source).catch(() => undefined);
  return {
    explainEnd: explainEndAfter(...lines),
    transport: {
      host: 'far',
      output: pipe.sink,
      input: sourceOf(says, 1000),
      exit: taken.then(() => ({ status, signal: null })),
      destroy: () => {
        pipe.abort(new TransportError('cut'));
        return Promise.resolve();
      },
    },
  };
}

/** Reads a source to its end. */
export async function takeAll(source: ByteSource): Promise<void> {
  const pieces = source[Symbol.asyncIterator]();
  while ((await pieces.next()).done !== true);
}
