import { crc32, joinChecksums } from '../../bytes/contents.js';
import type { LendBuffer, LentBuffer } from '../../bytes/byte-channel.js';
import type { CodecName } from '../../codec/codec.js';
import { FormatError } from '../../errors.js';
import { MAX_BLOCK_LENGTH } from '../block.js';
import {
  CHECKSUM_LENGTH,
  checksumOf,
  codecOf,
  DATA,
  DATA_PREFIX_LENGTH,
  DISCARD,
  FRAME_HEADER_LENGTH,
  parseDataPrefix,
  parseFrameHeader,
  parseRange,
  RANGE_LENGTH,
  ZERO,
  type DataPrefix,
} from '../frame-format.js';

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

/** A file whose bytes can be read at any position. */
export interface FilledFrom {
  readonly path: string;
  /** Fills `bytes` from `position`; returns how many there were, fewer at the file's end. */
  fill(bytes: Uint8Array, position: number): Promise<number>;
}

/** The frames with a block, of a stream in a file, read at their positions. One call at a time. */
export class BlockFrames {
  private readonly head = Buffer.alloc(HEAD_LENGTH);
  private readonly checksum = Buffer.alloc(CHECKSUM_LENGTH);

  constructor(private readonly file: FilledFrom) {}

  /**
   * The block whose frame starts at a position. Throws FormatError if it is damaged, or there is no block; what reading
   * throws.
   */
  async read(position: number, lend: LendBuffer): Promise<StoredBlock> {
    await this.fill(this.head, position);
    const { payloadLength, type, flags } = parseFrameHeader(this.head, this.file.path, position);
    if (flags !== 0) this.fail(position, 'unknown flags are set');
    if (type === DATA) return await this.readData(position, payloadLength, lend);
    const kind = type === ZERO ? 'zero' : type === DISCARD ? 'discard' : null;
    if (kind === null || payloadLength !== RANGE_LENGTH) this.fail(position, 'there is no block here');
    await this.fill(this.checksum, position + HEAD_LENGTH);
    this.checkChecksum(position, checksumOf(this.head));
    return { kind, ...parseRange(this.head.subarray(FRAME_HEADER_LENGTH), this.file.path, position) };
  }

  /** Fills memory from a position. Throws FormatError if the file ends before that, and what reading throws. */
  async fill(bytes: Uint8Array, position: number): Promise<void> {
    const count = await this.file.fill(bytes, position);
    if (count < bytes.length) this.fail(position + count, 'the file ends within a block');
  }

  private async readData(position: number, payloadLength: number, lend: LendBuffer): Promise<StoredBlock> {
    const stored = payloadLength - DATA_PREFIX_LENGTH;
    if (stored <= 0 || stored > MAX_BLOCK_LENGTH) this.fail(position, 'it has an impossible length');
    const prefixEnd = FRAME_HEADER_LENGTH + DATA_PREFIX_LENGTH;
    const head = this.head.subarray(0, prefixEnd);
    const said = parseDataPrefix(head.subarray(FRAME_HEADER_LENGTH), this.file.path, position);
    const data = await lend(stored);
    try {
      await this.fill(data.bytes, position + prefixEnd);
      await this.fill(this.checksum, position + prefixEnd + stored);
      const crc = crc32(data.bytes);
      this.checkChecksum(position, joinChecksums(checksumOf(head), crc, stored));
      const codec = this.checkCodec(position, said, stored);
      return { kind: 'data', offset: said.offset, length: said.rawLength, codec, data, crc };
    } catch (error) {
      data.release();
      throw error;
    }
  }

  private checkCodec(position: number, said: DataPrefix, stored: number): CodecName | null {
    const { codec, fault } = codecOf(said, stored);
    switch (fault) {
      case 'lengths differ':
        return this.fail(position, 'its length does not match its data');
      case 'unknown codec':
        return this.fail(position, `unknown codec ${said.codec}; a newer lvmsync wrote it`);
      case 'impossible length':
        return this.fail(position, `${stored} bytes of ${codec} cannot be ${said.rawLength} bytes of data`);
      case null:
        return codec;
    }
  }

  private checkChecksum(position: number, crc: number): void {
    if (this.checksum.readUInt32BE(0) !== crc) this.fail(position, 'its checksum is wrong: it is damaged');
  }

  private fail(position: number, problem: string): never {
    throw new FormatError(this.file.path, position, 'block', problem);
  }
}
