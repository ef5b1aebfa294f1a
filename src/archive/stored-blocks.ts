import { crc32 } from '../bytes/contents.js';
import type { LendBuffer } from '../bytes/byte-channel.js';
import { FormatError } from '../errors.js';
import { BlockFrames, type StoredBlock } from '../stream/stored/block-frames.js';
import type { ArchiveFacts } from './archive.js';
import type { StoredExtent } from './extent-table.js';
import { ReadAheadFile } from './read-ahead-file.js';

/** The blocks of one archive, read at random. One call at a time. */
export class StoredBlocks {
  private readonly frames: BlockFrames;

  private constructor(
    private readonly archive: ArchiveFacts,
    private readonly file: ReadAheadFile,
  ) {
    this.frames = new BlockFrames(file);
  }

  /** Throws DeviceError. For the last two parameters see `ReadAheadFile.open`. */
  static async open(archive: ArchiveFacts, windowSize: number, staysOpen: boolean): Promise<StoredBlocks> {
    return new StoredBlocks(archive, await ReadAheadFile.open(archive.path, windowSize, staysOpen));
  }

  /**
   * Reads the block that contains an extent; in PROTO[3], which has no frames, only that extent. Throws FormatError if
   * the block is damaged or does not match the index, DeviceError.
   */
  async read(extent: StoredExtent, lend: LendBuffer): Promise<StoredBlock> {
    if (this.archive.protocol === 3) return await this.readRecord(extent, lend);
    const block = await this.frames.read(extent.position, lend);
    const isAll =
      block.offset === extent.blockOffset && extent.offset + extent.length <= block.offset + block.length;
    if (isAll) return block;
    if (block.kind === 'data') block.data.release();
    throw new FormatError(
      this.archive.path,
      extent.position,
      'block',
      'it is not the block that the index lists',
    );
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  private async readRecord(extent: StoredExtent, lend: LendBuffer): Promise<StoredBlock> {
    const { offset, length } = extent;
    const data = await lend(length);
    try {
      await this.frames.fill(data.bytes, extent.position + offset - extent.blockOffset);
      return { kind: 'data', offset, length, codec: null, data, crc: crc32(data.bytes) };
    } catch (error) {
      data.release();
      throw error;
    }
  }
}
