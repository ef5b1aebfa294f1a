import { crc32 } from 'node:zlib';
import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { joinChecksums } from '../bytes/contents.js';
import { codecNumbered, type CodecName } from '../codec/codec.js';
import { FormatError } from '../errors.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import {
  CHECKSUM_LENGTH,
  checksumOf,
  DATA,
  DATA_PREFIX_LENGTH,
  DISCARD,
  FRAME_HEADER_LENGTH,
  parseDataPrefix,
  parseFrameHeader,
  parseRange,
  RANGE_LENGTH,
  RAW,
  RAW_CRC_LENGTH,
  ZERO,
} from '../stream/frame-format.js';
import type { ArchiveFacts } from './archive.js';
import type { StoredExtent } from './extent-table.js';
import { ReadAheadFile } from './read-ahead-file.js';

/** The longest header and prefix of a frame with a block. */
const HEAD_LENGTH = FRAME_HEADER_LENGTH + RANGE_LENGTH;

/** A block as its archive stores it, checked. The consumer releases its data. */
export type StoredBlock =
  | { readonly kind: 'zero' | 'discard'; readonly offset: number; readonly length: number }
  | {
      readonly kind: 'data';
      readonly offset: number;
      readonly length: number;
      /** Null: the bytes are not compressed. Otherwise the block's own checksum, then a codec's output. */
      readonly codec: CodecName | null;
      readonly data: LentBuffer;
      readonly crc: number;
    };

/** The blocks of one archive, read at random. One call at a time. */
export class StoredBlocks {
  private readonly head = Buffer.alloc(HEAD_LENGTH);
  private readonly checksum = Buffer.alloc(CHECKSUM_LENGTH);

  private constructor(
    private readonly archive: ArchiveFacts,
    private readonly file: ReadAheadFile,
  ) {}

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
    const { position } = extent;
    await this.fill(this.head, position);
    const { payloadLength, type, flags } = parseFrameHeader(this.head, this.archive.path, position);
    if (flags !== 0) this.fail(position, 'unknown flags are set');
    if (type === DATA) return await this.readData(extent, payloadLength, lend);
    const kind = type === ZERO ? 'zero' : type === DISCARD ? 'discard' : null;
    if (kind === null || payloadLength !== RANGE_LENGTH) this.fail(position, 'there is no block here');
    await this.fill(this.checksum, position + HEAD_LENGTH);
    this.checkChecksum(position, checksumOf(this.head));
    const range = parseRange(this.head.subarray(FRAME_HEADER_LENGTH), this.archive.path, position);
    this.checkRange(extent, range.offset, range.length);
    return { kind, ...range };
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  private async readData(
    extent: StoredExtent,
    payloadLength: number,
    lend: LendBuffer,
  ): Promise<StoredBlock> {
    const { position } = extent;
    const stored = payloadLength - DATA_PREFIX_LENGTH;
    if (stored <= 0 || stored > MAX_BLOCK_LENGTH) this.fail(position, 'it has an impossible length');
    const prefixEnd = FRAME_HEADER_LENGTH + DATA_PREFIX_LENGTH;
    const head = this.head.subarray(0, prefixEnd);
    const {
      offset,
      rawLength,
      codec: id,
    } = parseDataPrefix(head.subarray(FRAME_HEADER_LENGTH), this.archive.path, position);
    const data = await lend(stored);
    try {
      await this.fill(data.bytes, position + prefixEnd);
      await this.fill(this.checksum, position + prefixEnd + stored);
      const crc = crc32(data.bytes);
      this.checkChecksum(position, joinChecksums(checksumOf(head), crc, stored));
      const codec = this.codecOf(position, id, rawLength, stored);
      this.checkRange(extent, offset, rawLength);
      return { kind: 'data', offset, length: rawLength, codec, data, crc };
    } catch (error) {
      data.release();
      throw error;
    }
  }

  private codecOf(position: number, id: number, rawLength: number, stored: number): CodecName | null {
    if (id === RAW) {
      if (rawLength !== stored) this.fail(position, 'its length does not match its data');
      return null;
    }
    const codec = codecNumbered(id);
    if (codec === null) this.fail(position, `unknown codec ${id}; a newer lvmsync wrote it`);
    if (rawLength > MAX_BLOCK_LENGTH || rawLength <= stored || stored < RAW_CRC_LENGTH) {
      this.fail(position, `${stored} bytes of ${codec} cannot be ${rawLength} bytes of data`);
    }
    return codec;
  }

  private async readRecord(extent: StoredExtent, lend: LendBuffer): Promise<StoredBlock> {
    const { offset, length } = extent;
    const data = await lend(length);
    try {
      await this.fill(data.bytes, extent.position + offset - extent.blockOffset);
      return { kind: 'data', offset, length, codec: null, data, crc: crc32(data.bytes) };
    } catch (error) {
      data.release();
      throw error;
    }
  }

  private checkChecksum(position: number, crc: number): void {
    if (this.checksum.readUInt32BE(0) !== crc) this.fail(position, 'its checksum is wrong: it is damaged');
  }

  private checkRange({ position, ...extent }: StoredExtent, offset: number, length: number): void {
    const isAll = offset === extent.blockOffset && extent.offset + extent.length <= offset + length;
    if (!isAll) this.fail(position, 'it is not the block that the index lists');
  }

  private async fill(bytes: Uint8Array, position: number): Promise<void> {
    const count = await this.file.fill(bytes, position);
    if (count < bytes.length) this.fail(position + count, 'the file ends within a block');
  }

  private fail(position: number, problem: string): never {
    throw new FormatError(this.archive.path, position, 'block', problem);
  }
}
