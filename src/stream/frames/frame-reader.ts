import { crc32, crc32Between, joinChecksums } from '../../bytes/contents.js';
import type { LendBuffer, LentBuffer } from '../../bytes/byte-channel.js';
import type { CodecName } from '../../codec/codec.js';
import { FormatError } from '../../errors.js';
import type { ByteReader } from './byte-reader.js';
import { MAX_BLOCK_LENGTH } from '../block.js';
import {
  CHECKSUM_LENGTH,
  checksumOf,
  codecOf,
  DATA,
  DATA_PREFIX_LENGTH,
  FRAME_HEADER_LENGTH,
  FrameChain,
  HEADER,
  QUESTION,
  MAX_PAYLOAD_LENGTH,
  parseDataPrefix,
  parseFrameHeader,
  type DataPrefix,
  type FrameHeader,
} from '../frame-format.js';
import { MAX_HEADER_LENGTH } from '../stream-header.js';

/** A frame with the right checksum and number. */
export type Frame = SmallFrame | DataFrame;

export interface SmallFrame extends FramePlace {
  readonly payload: Buffer;
}

/** A data frame without flags; its consumer releases the data. */
export interface DataFrame extends FramePlace {
  readonly offset: number;
  /** The length of the block: that of the data, unless it is compressed. */
  readonly rawLength: number;
  /** Null if not compressed; otherwise `data` is the checksum of the block's own bytes, then the codec's output. */
  readonly codec: CodecName | null;
  readonly data: LentBuffer;
  /** Where the data starts in the stream. */
  readonly dataPosition: number;
  /** The CRC-32 of the data alone. */
  readonly crc: number;
}

interface FramePlace {
  readonly header: FrameHeader;
  /** Where it starts in the stream. */
  readonly position: number;
}

/** What a reader has come to: a whole frame; or it waits for bytes, or to be told where the data goes. */
export type FrameStep = 'frame' | 'bytes' | 'place';

const NOTHING: Buffer = Buffer.alloc(0);
const NO_HEADER: FrameHeader = { payloadLength: 0, type: '', flags: 0, number: 0 };
const NO_PREFIX: DataPrefix = { offset: 0, rawLength: 0, codec: 0 };

/**
 * Reads the frames of one direction of a connection, one after another: with `next`, or step by step. In steps, a frame
 * that has come as a whole costs no promise, and its fields are here until the next step.
 */
export class FrameReader {
  header = NO_HEADER;
  /** Where the frame starts in the stream. */
  position = 0;
  /** Whether it is a data frame without flags. */
  hasData = false;
  /** The payload of any other frame lies in these bytes, from an index on. */
  bytes = NOTHING;
  payloadAt = 0;
  /** What precedes the data. */
  said = NO_PREFIX;
  /** Null if the data is not compressed. */
  codec: CodecName | null = null;
  dataLength = 0;
  /** The CRC-32 of the data alone. */
  crc = 0;

  private state: 'head' | 'prefix' | 'place' | 'data' | 'checksum' | 'payload' = 'head';
  private number = 0;
  /** The CRC-32 of what comes before the data, or before the payload. */
  private crcBefore = 0;
  /** Where the data goes, and how much of it is there. */
  private memory = NOTHING;
  private start = 0;
  private done = 0;
  private readonly chain = new FrameChain();

  /** @param what the name of the stream in errors */
  constructor(
    readonly reader: ByteReader,
    readonly what: string,
  ) {}

  /** The chain over all frames so far. */
  get chainSoFar(): Buffer {
    return this.chain.value;
  }

  /** The chain over all frames before the last one. */
  get chainBefore(): Buffer {
    return this.chain.before;
  }

  /** Throws TruncatedStreamError, or FormatError for a frame that is damaged, too long or out of order. */
  async next(lend: LendBuffer): Promise<Frame> {
    let data: LentBuffer | null = null;
    try {
      for (let progress = this.advance(); progress !== 'frame'; progress = this.advance()) {
        if (progress === 'bytes') await this.waitForBytes();
        else {
          data = await lend(this.dataLength);
          this.placeData(data.bytes, 0);
        }
      }
    } catch (error) {
      data?.release();
      throw error;
    }
    const { header, position, said, codec, crc, reader } = this;
    if (data === null) return { header, position, payload: Buffer.from(this.payload) };
    const dataPosition = reader.offset - CHECKSUM_LENGTH - this.dataLength;
    return {
      header,
      position,
      offset: said.offset,
      rawLength: said.rawLength,
      codec,
      data,
      dataPosition,
      crc,
    };
  }

  /** The payload of a frame without data. */
  get payload(): Buffer {
    return this.bytes.subarray(this.payloadAt, this.payloadAt + this.header.payloadLength);
  }

  /**
   * Reads on, as far as the bytes at hand reach: to the end of the next frame, or until it has to wait. Throws
   * FormatError for a frame that is damaged, too long or out of order.
   */
  advance(): FrameStep {
    if (this.state === 'head' && !this.takeHead()) return 'bytes';
    if (this.state === 'payload') return this.takePayload() ? 'frame' : 'bytes';
    if (this.state === 'prefix' && !this.takePrefix()) return 'bytes';
    if (this.state === 'place') return 'place';
    if (this.state === 'data' && !this.takeData()) return 'bytes';
    return this.takeChecksum() ? 'frame' : 'bytes';
  }

  /** Says where the data of the frame goes. */
  placeData(memory: Buffer, start: number): void {
    this.memory = memory;
    this.start = start;
    this.state = 'data';
  }

  /** Waits for some of the bytes that are missing. Throws TruncatedStreamError if the source has ended. */
  async waitForBytes(): Promise<void> {
    const { reader } = this;
    const [length, expected] = this.needed();
    if (await reader.gather(length)) return;
    const isWithoutChecksum = this.state === 'payload' && reader.atHand >= this.header.payloadLength;
    throw reader.endTooSoon(isWithoutChecksum ? 'a checksum' : expected);
  }

  /** What has to be at hand for the next step, and what it is called. */
  private needed(): [length: number, expected: string] {
    switch (this.state) {
      case 'head':
        return [FRAME_HEADER_LENGTH, 'a frame'];
      case 'payload':
        return [this.header.payloadLength + CHECKSUM_LENGTH, 'a payload'];
      case 'prefix':
        return [DATA_PREFIX_LENGTH, 'a data frame'];
      case 'checksum':
        return [CHECKSUM_LENGTH, 'a checksum'];
      default:
        return [1, 'data'];
    }
  }

  private takeHead(): boolean {
    const { reader, what } = this;
    if (reader.atHand < FRAME_HEADER_LENGTH) return false;
    const { bytes, at, offset } = reader;
    this.position = offset;
    const header = parseFrameHeader(bytes, what, offset, at);
    this.header = header;
    if (header.number !== this.number)
      this.fail('frame', `number ${header.number} instead of ${this.number}`);
    this.number += 1;
    const { type, flags, payloadLength } = header;
    // Flags may change a payload's layout: data is parsed only without flags.
    this.hasData = type === DATA && flags === 0;
    this.refuseLongerThan(this.hasData ? DATA_PREFIX_LENGTH + MAX_BLOCK_LENGTH : longestPayload(type));
    if (this.hasData && payloadLength < DATA_PREFIX_LENGTH)
      this.fail('data frame', `only ${payloadLength} bytes long`);
    this.crcBefore = crc32Between(bytes, at, at + FRAME_HEADER_LENGTH);
    this.chain.addHeader(bytes, at);
    reader.at += FRAME_HEADER_LENGTH;
    this.state = this.hasData ? 'prefix' : 'payload';
    return true;
  }

  private takePayload(): boolean {
    const { reader, header } = this;
    const { payloadLength } = header;
    if (reader.atHand < payloadLength + CHECKSUM_LENGTH) return false;
    const { bytes, at } = reader;
    this.bytes = bytes;
    this.payloadAt = at;
    reader.at += payloadLength;
    this.verify(crc32Between(bytes, at, at + payloadLength, this.crcBefore));
    return true;
  }

  private takePrefix(): boolean {
    const { reader, what, position, header } = this;
    if (reader.atHand < DATA_PREFIX_LENGTH) return false;
    const { bytes, at } = reader;
    this.said = parseDataPrefix(bytes, what, position, at);
    this.crcBefore = crc32Between(bytes, at, at + DATA_PREFIX_LENGTH, this.crcBefore);
    reader.at += DATA_PREFIX_LENGTH;
    this.dataLength = header.payloadLength - DATA_PREFIX_LENGTH;
    this.done = 0;
    this.crc = 0;
    this.state = 'place';
    return true;
  }

  private takeData(): boolean {
    const { reader, memory, done, dataLength } = this;
    const { at } = reader;
    const count = Math.min(dataLength - done, reader.atHand);
    const start = this.start + done;
    memory.set(reader.bytes.subarray(at, at + count), start);
    // Of the copy, because that is what is written.
    this.crc = crc32(memory.subarray(start, start + count), this.crc);
    reader.at += count;
    this.done += count;
    if (this.done < dataLength) return false;
    this.state = 'checksum';
    return true;
  }

  private takeChecksum(): boolean {
    const { reader, crc, crcBefore, dataLength } = this;
    if (reader.atHand < CHECKSUM_LENGTH) return false;
    this.verify(joinChecksums(crcBefore, crc, dataLength));
    // After the checksum: damage must not look like an unknown codec.
    this.codec = this.checkCodec();
    return true;
  }

  private checkCodec(): CodecName | null {
    const { said, dataLength: length } = this;
    const { codec, fault } = codecOf(said, length);
    switch (fault) {
      case 'lengths differ':
        return this.fail('raw length', 'it does not match the data');
      case 'unknown codec':
        return this.fail('codec', `${said.codec} is unknown; a newer lvmsync wrote this stream`);
      case 'impossible length': {
        const problem = `${length} bytes of ${codec} cannot be ${said.rawLength} bytes of data`;
        return this.fail('raw length', problem);
      }
      case null:
        return codec;
    }
  }

  private verify(crc: number): void {
    const { bytes, at } = this.reader;
    if (bytes.readUInt32BE(at) !== crc) {
      this.fail(`frame ${this.header.number}`, 'its checksum is wrong: it was damaged on the way');
    }
    this.chain.addChecksum(bytes, at);
    this.reader.at += CHECKSUM_LENGTH;
    this.state = 'head';
  }

  private refuseLongerThan(limit: number): void {
    const { payloadLength } = this.header;
    if (payloadLength > limit) this.fail('payload length', `${payloadLength} bytes are more than ${limit}`);
  }

  private fail(field: string, problem: string): never {
    throw new FormatError(this.what, this.position, field, problem);
  }
}

/** Of a frame without data. Bytes. */
function longestPayload(type: string): number {
  return type === HEADER || type === QUESTION ? MAX_HEADER_LENGTH : MAX_PAYLOAD_LENGTH;
}

/** A frame's header, and its bytes. */
export interface FrameHead {
  readonly header: FrameHeader;
  readonly head: Buffer;
}

/** Reads the next frame's header. Throws TruncatedStreamError, FormatError. */
export async function readHead(reader: ByteReader, what: string): Promise<FrameHead> {
  const position = reader.offset;
  const head = await reader.readExactly(FRAME_HEADER_LENGTH, 'a frame');
  return { header: parseFrameHeader(head, what, position), head };
}

/**
 * Reads the rest of a frame after its header. Returns the payload; null if the checksum is wrong. Throws
 * TruncatedStreamError, which says what was `expected`.
 */
export async function readPayload(
  reader: ByteReader,
  { header, head }: FrameHead,
  expected: string,
): Promise<Buffer | null> {
  const payload = await reader.readExactly(header.payloadLength, expected);
  const checksum = await reader.readExactly(CHECKSUM_LENGTH, 'a checksum');
  return checksum.readUInt32BE(0) === checksumOf(head, payload) ? payload : null;
}

/** Memory for the data of one frame: for a reader that drops it before it reads the next frame. */
export function oneBuffer(): LendBuffer {
  let buffer = Buffer.alloc(0);
  return (length) => {
    if (buffer.length === 0) buffer = Buffer.alloc(MAX_BLOCK_LENGTH);
    return Promise.resolve({ bytes: buffer.subarray(0, length), release: () => undefined });
  };
}
