import type { ByteSink, ByteSource, LendBuffer } from '../../src/bytes/byte-channel.js';
import { BufferPool } from '../../src/memory/aligned-memory.js';

/** Bytes as a source of pieces of the given length, each gone when the next is asked for. */
export async function* sourceOf(bytes: Uint8Array, pieceLength = 65_536): ByteSource {
  for (let at = 0; at < bytes.length; at += pieceLength) {
    const piece = Buffer.from(bytes.subarray(at, at + pieceLength));
    await Promise.resolve();
    yield piece;
    piece.fill(0xee);
  }
}

/** A sink that keeps all it is given. */
export function collectingSink(): ByteSink & { bytes(): Buffer; ended(): boolean } {
  const pieces: Buffer[] = [];
  let ended = false;
  return {
    write: (piece) => {
      pieces.push(Buffer.from(piece));
      return Promise.resolve();
    },
    end: () => {
      ended = true;
      return Promise.resolve();
    },
    bytes: () => Buffer.concat(pieces),
    ended: () => ended,
  };
}

/** Enough memory for any test. */
export function pool(): LendBuffer {
  return new BufferPool(64 * 1024 * 1024).lend;
}
