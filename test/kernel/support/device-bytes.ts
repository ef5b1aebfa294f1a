import { createCipheriv, createHash } from 'node:crypto';
import { constants, type PathLike } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

const MEBIBYTE = 1024 * 1024;

/** Bytes that look random and are the same for the same seed, everywhere. */
export function seededBytes(seed: string | number, length: number): Buffer {
  const key = createHash('sha256').update(String(seed)).digest().subarray(0, 16);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Writes seeded bytes and sees them onto the device. Offset and length in bytes. */
export async function writeRandom(
  device: PathLike,
  offset: number,
  length: number,
  seed: string | number,
): Promise<void> {
  await writeBytes(device, offset, seededBytes(seed, length));
}

/** Writes bytes and sees them onto the device. */
export async function writeBytes(device: PathLike, offset: number, bytes: Uint8Array): Promise<void> {
  const file = await open(device, 'r+');
  try {
    await file.write(bytes, 0, bytes.length, offset);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** The sha256 of a whole device. */
export async function digestOf(device: PathLike): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of piecesOf(device)) hash.update(piece);
  return hash.digest('hex');
}

/**
 * A device from its beginning to its end, read past the page cache wherever the file knows direct I/O. Each piece is
 * gone when the next is asked for.
 */
export async function* piecesOf(device: PathLike): AsyncGenerator<Buffer, undefined> {
  const file = await openDirect(device);
  // ordinary buffers are not aligned as direct I/O wants them; WebAssembly's memory is
  const buffer = Buffer.from(new WebAssembly.Memory({ initial: 16, maximum: 16 }).buffer);
  try {
    for (let offset = 0; ;) {
      const { bytesRead } = await file.read(buffer, 0, MEBIBYTE, offset);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      offset += bytesRead;
    }
  } finally {
    await file.close();
  }
}

async function openDirect(device: PathLike): Promise<FileHandle> {
  try {
    return await open(device, constants.O_RDONLY | constants.O_DIRECT);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EINVAL') return open(device, 'r');
    throw error;
  }
}
