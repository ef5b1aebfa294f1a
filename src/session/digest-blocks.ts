import { hash, webcrypto } from 'node:crypto';
import { readBlocks } from '../block-reader.js';
import type { LendBuffer } from '../byte-channel.js';
import type { BlockDevice } from '../device/block-device.js';
import { splitExtents } from '../extent.js';
import { MAX_BLOCK_LENGTH } from '../stream/frame-format.js';
import type { Query } from '../stream/query-format.js';

/** Up to here a digest is sooner taken than handed to another thread. Bytes. */
const AT_ONCE = 16_384;
/** Bytes that wait for their digest at once: Web Crypto's copies. */
const MOST_WAITING = 8 * 1024 * 1024;

/**
 * Reads extents of a device and takes the sha256 of each block: one behind the other, in the extents' order. Reads
 * ahead, and hashes on other threads while it does. Throws DeviceError.
 *
 * @param advance hears of bytes as they are read
 */
export async function digestBlocks(
  device: BlockDevice,
  { extents, blockLength }: Query,
  lend: LendBuffer,
  advance: (bytes: number) => void = () => undefined,
): Promise<Buffer> {
  const digests: Promise<Uint8Array>[] = [];
  const mostWaiting = Math.ceil(MOST_WAITING / blockLength);
  for await (const { offset, data } of readBlocks(device, extents, MAX_BLOCK_LENGTH, lend)) {
    try {
      for (const block of splitExtents([{ offset, length: data.bytes.length }], blockLength)) {
        const start = block.offset - offset;
        digests.push(digestOf(data.bytes.subarray(start, start + block.length)));
      }
      advance(data.bytes.length);
    } finally {
      data.release();
    }
    await digests[digests.length - mostWaiting];
  }
  return Buffer.concat(await Promise.all(digests));
}

/** Needs the bytes no longer once it has returned. */
function digestOf(bytes: Buffer): Promise<Uint8Array> {
  if (bytes.length <= AT_ONCE) return Promise.resolve(hash('sha256', bytes, 'buffer'));
  // Web Crypto takes its own copy before it returns. It refuses shared memory, which lent buffers are not.
  return webcrypto.subtle.digest('SHA-256', bytes).then((digest) => new Uint8Array(digest));
}
