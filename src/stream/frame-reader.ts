import { crc32, joinChecksums } from '../bytes/contents.js';
import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import type { CodecName } from '../codec/codec.js';
import { FormatError } from '../errors.js';
import type { ByteReader } from './byte-reader.js';
import { MAX_BLOCK_LENGTH } from './block.js';
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
} from './frame-format.js';
import { MAX_HEADER_LENGTH } from './stream-header.js';

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

/** Reads the frames of one direction of a connection, one after another. */
export class FrameReader {
  /** The chain over all frames before the one being read. */
  chainBefore: Buffer = Buffer.alloc(32);
  private number = 0;
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

  /** Throws TruncatedStreamError, or FormatError for a frame that is damaged, too long or out of order. */
  async next(lend: LendBuffer): Promise<Frame> {
    const position = this.reader.offset;
    const { header, head } = await readHead(this.reader, this.what);
    if (header.number !== this.number) {
      const problem = `number ${header.number} instead of ${this.number}`;
      throw new FormatError(this.what, position, 'frame', problem);
    }
    this.number += 1;
    const place = { header, position };
    // Flags may change a payload's layout: data is parsed only without flags.
    if (header.type === DATA && header.flags === 0) return await this.readData(head, place, lend);
    return await this.readSmall(head, place);
  }

  private async readSmall(head: Buffer, place: FramePlace): Promise<SmallFrame> {
    const { payloadLength, type } = place.header;
    this.refuseLongerThan(
      type === HEADER || type === QUESTION ? MAX_HEADER_LENGTH : MAX_PAYLOAD_LENGTH,
      place,
    );
    const payload = await this.reader.readExactly(payloadLength, 'a payload');
    await this.verify(place, head, checksumOf(head, payload));
    return { ...place, payload };
  }

  private async readData(head: Buffer, place: FramePlace, lend: LendBuffer): Promise<DataFrame> {
    const { payloadLength } = place.header;
    this.refuseLongerThan(DATA_PREFIX_LENGTH + MAX_BLOCK_LENGTH, place);
    if (payloadLength < DATA_PREFIX_LENGTH)
      this.fail(place, 'data frame', `only ${payloadLength} bytes long`);
    const prefix = await this.reader.readExactly(DATA_PREFIX_LENGTH, 'a data frame');
    const said = parseDataPrefix(prefix, this.what, place.position);
    const { offset, rawLength } = said;
    const { offset: dataPosition } = this.reader;
    const data = await lend(payloadLength - DATA_PREFIX_LENGTH);
    try {
      await this.reader.readInto(data.bytes, 'data');
      const crc = crc32(data.bytes);
      await this.verify(place, head, joinChecksums(checksumOf(head, prefix), crc, data.bytes.length));
      // After the checksum: damage must not look like an unknown codec.
      const codec = this.checkCodec(place, said, data.bytes.length);
      // Field by field: a spread would make reading small blocks a third slower.
      const { header, position } = place;
      return { header, position, offset, rawLength, codec, data, dataPosition, crc };
    } catch (error) {
      data.release();
      throw error;
    }
  }

  private checkCodec(place: FramePlace, said: DataPrefix, length: number): CodecName | null {
    const { codec, fault } = codecOf(said, length);
    switch (fault) {
      case 'lengths differ':
        return this.fail(place, 'raw length', 'it does not match the data');
      case 'unknown codec':
        return this.fail(place, 'codec', `${said.codec} is unknown; a newer lvmsync wrote this stream`);
      case 'impossible length': {
        const problem = `${length} bytes of ${codec} cannot be ${said.rawLength} bytes of data`;
        return this.fail(place, 'raw length', problem);
      }
      case null:
        return codec;
    }
  }

  private async verify(place: FramePlace, head: Buffer, crc: number): Promise<void> {
    const checksum = await this.reader.readExactly(CHECKSUM_LENGTH, 'a checksum');
    if (checksum.readUInt32BE(0) !== crc) {
      this.fail(place, `frame ${place.header.number}`, 'its checksum is wrong: it was damaged on the way');
    }
    this.chainBefore = this.chain.value;
    this.chain.add(head, checksum);
  }

  private refuseLongerThan(limit: number, place: FramePlace): void {
    const { payloadLength } = place.header;
    if (payloadLength > limit)
      this.fail(place, 'payload length', `${payloadLength} bytes are more than ${limit}`);
  }

  private fail({ position }: FramePlace, field: string, problem: string): never {
    throw new FormatError(this.what, position, field, problem);
  }
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
