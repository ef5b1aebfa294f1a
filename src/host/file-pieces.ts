import type { FileHandle } from 'node:fs/promises';
import type { ByteSource } from '../byte-channel.js';
import { DeviceError } from '../errors.js';

const READ_SIZE = 1024 * 1024;

/** A file from its beginning to its end. Throws DeviceError, which names `path`. */
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
