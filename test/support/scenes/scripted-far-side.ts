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
      input: bitByBit(says),
      exit: taken.then(() => ({ status, signal: null })),
      destroy: () => {
        pipe.abort(new TransportError('cut'));
        return Promise.resolve();
      },
    },
  };
}

/** In small pieces, and what is behind a reply comes only after its reader has seen the reply. */
async function* bitByBit(says: Uint8Array): ByteSource {
  for await (const piece of sourceOf(says, 32)) {
    await new Promise(setImmediate);
    yield piece;
  }
}

/** Reads a source to its end. */
export async function takeAll(source: ByteSource): Promise<void> {
  const pieces = source[Symbol.asyncIterator]();
  while ((await pieces.next()).done !== true);
}
