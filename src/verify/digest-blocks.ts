import type { LendBuffer } from '../bytes/byte-channel.js';
import { splitExtents } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { readBlocks } from '../engine/block-reader.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { Query } from '../stream/query-format.js';
import type { TakeDigest } from './digest.js';

/** The most bytes that wait for their digests at once. They are copies if other threads compute the digests. */
const MOST_WAITING = 8 * 1024 * 1024;

/** Reads a device, and computes the digests of its blocks. */
export class BlockDigester {
  /** @param advance called with the number of bytes as they are read */
  constructor(
    readonly device: BlockDevice,
    readonly lend: LendBuffer,
    private readonly advance: (bytes: number) => void = () => undefined,
  ) {}

  /**
   * The digests of the blocks of some extents, one after another, in the order of the extents. Reads ahead meanwhile.
   * Throws DeviceError.
   */
  async digest({ extents, blockLength }: Query, takeDigest: TakeDigest): Promise<Buffer> {
    const digests: Promise<Uint8Array>[] = [];
    const mostWaiting = Math.ceil(MOST_WAITING / blockLength);
    for await (const { offset, data } of readBlocks(this.device, extents, MAX_BLOCK_LENGTH, this.lend)) {
      try {
        for (const block of splitExtents([{ offset, length: data.bytes.length }], blockLength)) {
          const start = block.offset - offset;
          digests.push(Promise.resolve(takeDigest(data.bytes.subarray(start, start + block.length))));
        }
        this.advance(data.bytes.length);
      } finally {
        data.release();
      }
      await digests[digests.length - mostWaiting];
    }
    return Buffer.concat(await Promise.all(digests));
  }
}
