import type { FileHandle } from 'node:fs/promises';
import { DeviceError } from '../errors.js';
/**
 * How bytes move between the rooms, independent of the transport. Both directions are pulled or awaited piece by
 * piece, so the slowest part sets the pace.
 */

/** Bytes coming in. A piece is valid only until the next one is asked for. */
export type ByteSource = AsyncIterable<Uint8Array>;

/** Bytes going out. */
export interface ByteSink {
  /** Resolves when the sink can accept more, and no longer needs the piece's memory. */
  write(piece: Uint8Array): Promise<void>;
  /** Ends the data (half-close); resolves when the last byte has been sent. */
  end(): Promise<void>;
}

/** Lent memory, which must be returned once, by `release`. */
export interface LentBuffer {
  readonly bytes: Buffer;
  release(): void;
}

/** Lends memory of at least `length` bytes, trimmed to it; waits until some is free. */
export type LendBuffer = (length: number) => Promise<LentBuffer>;

const READ_SIZE = 1024 * 1024;

/**
 * A file's bytes from its beginning to its end. While a piece is in use, the next one is read, except the second: many
 * readers want no more than the beginning. Throws DeviceError, which names `path`.
 */
export async function* piecesOf(file: FileHandle, path: string): ByteSource {
  const read = async (piece: Buffer, position: number) => {
    const { bytesRead } = await file.read(piece, 0, piece.length, position).catch((error: unknown) => {
      throw new DeviceError(path, 'read', position, error);
    });
    return piece.subarray(0, bytesRead);
  };
  const first = Buffer.alloc(READ_SIZE);
  let piece = await read(first, 0);
  if (piece.length === 0) return;
  let position = piece.length;
  yield piece;
  let [memory, spare] = [first, Buffer.alloc(READ_SIZE)];
  let ahead = read(memory, position);
  try {
    for (piece = await ahead; piece.length > 0; piece = await ahead) {
      position += piece.length;
      [memory, spare] = [spare, memory];
      ahead = read(memory, position);
      // It is reported when the piece is asked for.
      ahead.catch(() => undefined);
      yield piece;
    }
  } finally {
    // The file may be closed after this.
    await ahead.catch(() => undefined);
  }
}
