import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

const PIECE = 1024 * 1024;

// ordinary buffers are not aligned as direct I/O wants them; WebAssembly's memory is
const aligned = Buffer.from(new WebAssembly.Memory({ initial: 16, maximum: 16 }).buffer);

/** Reads a whole device past the page cache, which knows nothing of the kernel's own writes. */
export async function readDevice(device: string): Promise<Buffer> {
  const file = await open(device, constants.O_RDONLY | constants.O_DIRECT);
  const pieces: Buffer[] = [];
  try {
    for (let offset = 0; ;) {
      const { bytesRead } = await file.read(aligned, 0, PIECE, offset);
      if (bytesRead === 0) return Buffer.concat(pieces);
      pieces.push(Buffer.from(aligned.subarray(0, bytesRead)));
      offset += bytesRead;
    }
  } finally {
    await file.close();
  }
}

/** Writes pieces in exactly the given order, past the page cache, which would sort them. */
export async function writeDevice(
  device: string,
  pieces: Iterable<{ readonly offset: number; readonly bytes: Buffer }>,
): Promise<void> {
  const file = await open(device, constants.O_RDWR | constants.O_DIRECT);
  try {
    for (const { offset, bytes } of pieces) {
      for (let done = 0; done < bytes.length;) {
        const length = bytes.copy(aligned, 0, done, done + PIECE);
        await file.write(aligned, 0, length, offset + done);
        done += length;
      }
    }
  } finally {
    await file.close();
  }
}
