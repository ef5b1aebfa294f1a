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

/** A file's bytes from its beginning to its end. Throws DeviceError, which names `path`. */
export async function* piecesOf(file: FileHandle, path: string): ByteSource {
  const piece = Buffer.alloc(READ_SIZE);
  for (let position = 0; ;) {
    const { bytesRead } = await file.read(piece, 0, piece.length, position).catch((error: unknown) => {
      throw new DeviceError(path, 'read', position, error);
    });
    if (bytesRead === 0) return;
    position += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
}
