import { crc32, joinChecksums } from '../bytes/contents.js';
import type { ByteSink } from '../bytes/byte-channel.js';
import type { Extent } from '../bytes/extent.js';
import { type BlockBatch, ENTRY } from './batches/batch.js';
import type { BlockWriter, KnownOfBytes } from './block-writer.js';
import { ExtentOrder } from './extent-order.js';
import { MAX_BLOCK_LENGTH, type Announcement, type Proof, type Section } from './block.js';
import {
  ANNOUNCEMENT,
  AUDIT,
  checksumOf,
  DATA,
  DISCARD,
  encodeAnnouncements,
  encodeChecksum,
  encodeDataPrefix,
  encodeEnd,
  encodeFlushed,
  encodeFrameHeader,
  encodePackedPrefix,
  encodePass,
  encodeProof,
  encodeRange,
  encodeSection,
  END,
  FLUSHED,
  FrameChain,
  HEADER,
  QUESTION,
  NAMELESS,
  NEXT_PASS,
  OPTIONAL,
  PROOF,
  PROTOCOL_LINE,
  SECTION,
  ZERO,
  type StreamTotals,
} from './frame-format.js';
import { INDEX, IndexWriter, type IndexEntry } from './stored/index-format.js';
import {
  CHECKPOINT,
  encodeCheckpoint,
  encodeResumePoint,
  HEARTBEAT,
  RESUME,
  RESUME_POINT,
  type ResumePoint,
} from './mark-format.js';
import { encodeHeader, type StreamHeader } from './stream-header.js';

/** The variable part of a payload, and its CRC-32. */
interface Body {
  readonly bytes: Uint8Array;
  readonly crc: number;
}

/** Smaller payloads are sent in one piece with their frame: a copy costs less than two more writes. */
const JOIN_BELOW = 16 * 1024;
const NONE_KNOWN: ReadonlyMap<number, KnownOfBytes> = new Map();
const NOTHING: Body = { bytes: new Uint8Array(0), crc: 0 };

/** What was written of a stream so far. */
export interface WrittenStream {
  readonly totals: StreamTotals;
  /** The current pass, from 1, and where its last extent ends. */
  readonly pass: number;
  readonly cursor: number;
  /** Over all frames so far. */
  readonly chain: Buffer;
  /** The length so far. Bytes. */
  readonly length: number;
  /**
   * For a stream with an index: where its last index frame starts, 0 if there is no index frame, and the blocks since
   * then.
   */
  readonly index: { readonly last: number; readonly entries: readonly IndexEntry[] } | null;
}

export interface FrameWriterOptions {
  /** Whether the stream gets an index, which allows random access to it as a file. */
  readonly indexed?: boolean;
}

/** Writes a PROTO[4] stream. A block out of order is a bug of ours: it throws a plain Error. */
export class FrameWriter implements BlockWriter {
  readonly carriesProofs = true;
  bytesWritten = 0;
  /** Whether the end frame is being sent. */
  isEnding = false;
  private frames = 0;
  private dataBytes = 0;
  private zeroBytes = 0;
  private discardBytes = 0;
  private order = new ExtentOrder(0);
  private readonly chain = new FrameChain();
  private framesUnderWay = 0;
  private index: IndexWriter | null;

  constructor(
    private readonly sink: ByteSink,
    { indexed = false }: FrameWriterOptions = {},
  ) {
    this.index = indexed ? new IndexWriter() : null;
  }

  /** Continues a stream that has no end frame yet. */
  static async continue(sink: ByteSink, volumeSize: number, written: WrittenStream): Promise<FrameWriter> {
    const writer = new FrameWriter(sink);
    const { totals, pass, cursor, chain, length, index } = written;
    writer.frames = totals.frames;
    writer.dataBytes = totals.dataBytes;
    writer.zeroBytes = totals.zeroBytes;
    writer.discardBytes = totals.discardBytes;
    writer.order = new ExtentOrder(volumeSize, pass, cursor);
    writer.chain.value = chain;
    writer.bytesWritten = length;
    if (index !== null) {
      writer.index = new IndexWriter(index.last);
      for (const entry of index.entries) await writer.enter(entry);
    }
    return writer;
  }

  /** The number of frames so far, which is the number of the next one. */
  get frameCount(): number {
    return this.frames;
  }

  async start(header: StreamHeader): Promise<void> {
    await this.begin(HEADER, header);
  }

  /** Begins a stream by which is asked what applying one with this header would do: proofs may follow, and the end. */
  async ask(header: StreamHeader): Promise<void> {
    await this.begin(QUESTION, header);
  }

  private async begin(type: typeof HEADER | typeof QUESTION, header: StreamHeader): Promise<void> {
    this.order = new ExtentOrder(header.volumeSize);
    await this.send(Buffer.from(PROTOCOL_LINE));
    await this.frame(type, encodeHeader(header));
  }

  async data(offset: number, bytes: Uint8Array, known: KnownOfBytes = {}): Promise<void> {
    if (bytes.length > MAX_BLOCK_LENGTH) throw new Error(`a block of ${bytes.length} bytes is too long`);
    this.take(offset, bytes.length);
    this.dataBytes += bytes.length;
    const { packed, crc = crc32(bytes) } = known;
    const entry = { offset, length: bytes.length, position: this.bytesWritten };
    if (packed === undefined) {
      await this.frame(DATA, encodeDataPrefix(offset, bytes.length), { bytes, crc });
    } else {
      const prefix = encodePackedPrefix(offset, bytes.length, packed.codec, crc);
      await this.frame(DATA, prefix, { bytes: packed.bytes, crc: crc32(packed.bytes) });
    }
    await this.enter(entry);
  }

  /** Writes a block as another stream's data frame has it: `stored` is its own checksum, then a codec's output. */
  async stored(offset: number, length: number, codec: number, stored: Uint8Array): Promise<void> {
    this.take(offset, length);
    this.dataBytes += length;
    const prefix = encodeDataPrefix(offset, length, codec);
    const position = this.bytesWritten;
    await this.frame(DATA, prefix, { bytes: stored, crc: crc32(stored) });
    await this.enter({ offset, length, position });
  }

  async zero(offset: number, length: number): Promise<void> {
    this.take(offset, length);
    this.zeroBytes += length;
    const position = this.bytesWritten;
    await this.frame(ZERO, encodeRange(offset, length));
    await this.enter({ offset, length, position });
  }

  async discard(offset: number, length: number): Promise<void> {
    this.take(offset, length);
    this.discardBytes += length;
    const position = this.bytesWritten;
    await this.frame(DISCARD, encodeRange(offset, length));
    await this.enter({ offset, length, position });
  }

  async prove(proof: Proof): Promise<void> {
    this.order.closeSection();
    await this.frame(PROOF, encodeProof(proof));
  }

  async openSection(section: Section): Promise<void> {
    const { offset, length } = section;
    if (length > MAX_BLOCK_LENGTH) throw new Error(`a section of ${length} bytes is too long`);
    const problem = this.order.openSection(offset, length);
    if (problem !== null) throw new Error(problem);
    await this.frame(SECTION, encodeSection(section));
  }

  async batch(batch: BlockBatch, known: ReadonlyMap<number, KnownOfBytes> = NONE_KNOWN): Promise<void> {
    for (let entry = batch.first; entry < batch.count; entry++) {
      const { offset, length } = batch.extentAt(entry);
      const crc = batch.crcAt(entry);
      switch (batch.kindAt(entry)) {
        case ENTRY.data:
          await this.data(offset, batch.bytesAt(entry), known.get(entry) ?? { crc });
          break;
        case ENTRY.zero:
          await this.zero(offset, length);
          break;
        case ENTRY.discard:
          await this.discard(offset, length);
          break;
        case ENTRY.proof:
          await this.prove({ offset, length, crc });
          break;
        default:
          await this.openSection({ offset, length, oldCrc: crc, newCrc: batch.newCrcAt(entry) });
      }
    }
  }

  /** For a journal: announces writes that are about to be made. At least one. */
  async announce(writes: readonly Announcement[]): Promise<void> {
    await this.frame(ANNOUNCEMENT, encodeAnnouncements(writes), NOTHING, OPTIONAL);
  }

  /** For a journal: says that the first `writes` announced writes are on the target's stable storage. */
  async markFlushed(writes: number): Promise<void> {
    await this.frame(FLUSHED, encodeFlushed(writes), NOTHING, OPTIONAL);
  }

  /**
   * For a journal: says up to where the applied stream is on the target's stable storage, as are all writes announced
   * so far.
   */
  async markResumePoint(point: ResumePoint): Promise<void> {
    await this.frame(RESUME_POINT, encodeResumePoint(point), NOTHING, OPTIONAL);
  }

  /** For a session: asks for everything before it to be made durable; the token identifies this place. */
  async checkpoint(token: Uint8Array): Promise<void> {
    this.order.closeSection();
    await this.frame(CHECKPOINT, encodeCheckpoint(this.chain.value, token));
  }

  /** For a session: says that only what comes after the place that the receiver offered will follow. */
  async resume(token: Uint8Array): Promise<void> {
    await this.frame(RESUME, token);
  }

  /**
   * For a session: a keepalive between header and end; left out while a frame is being written, which serves as one.
   */
  async heartbeat(): Promise<void> {
    if (this.frames > 0 && this.framesUnderWay === 0 && !this.isEnding)
      await this.frame(HEARTBEAT, NOTHING.bytes, NOTHING, OPTIONAL);
  }

  async nextPass(): Promise<void> {
    this.order.startPass();
    await this.frame(NEXT_PASS, encodePass(this.order.pass));
  }

  /** For a session, at the start of a pass: only sections follow, for everything in an extent that did not change. */
  async audit({ offset, length }: Extent): Promise<void> {
    await this.frame(AUDIT, encodeRange(offset, length));
  }

  async finish(isNameless = false): Promise<StreamTotals> {
    if (this.index?.isEmpty === false) await this.writeIndex(this.index);
    const { frames, dataBytes, zeroBytes, discardBytes } = this;
    const totals = { frames, dataBytes, zeroBytes, discardBytes };
    this.isEnding = true;
    const end = encodeEnd(totals, this.chain.value, this.index?.last);
    await this.frame(END, end, NOTHING, isNameless ? NAMELESS : 0);
    await this.sink.end();
    return totals;
  }

  /** Records where a block's frame starts; writes an index frame when enough blocks have come together. */
  private async enter(entry: IndexEntry): Promise<void> {
    this.index?.add(entry);
    if (this.index?.isFull === true) await this.writeIndex(this.index);
  }

  private async writeIndex(index: IndexWriter): Promise<void> {
    await this.frame(INDEX, index.takeFrame(this.bytesWritten), NOTHING, OPTIONAL);
  }

  private take(offset: number, length: number): void {
    const problem = this.order.take(offset, length);
    if (problem !== null) throw new Error(problem);
  }

  private async frame(type: string, head: Uint8Array, body = NOTHING, flags = 0): Promise<void> {
    const { bytes } = body;
    const payloadLength = head.length + bytes.length;
    const header = encodeFrameHeader({ payloadLength, type, flags, number: this.frames });
    const crc = joinChecksums(checksumOf(header, head), body.crc, bytes.length);
    const checksum = encodeChecksum(crc);
    this.frames += 1;
    this.chain.add(header, checksum);
    this.framesUnderWay += 1;
    try {
      if (payloadLength < JOIN_BELOW) {
        await this.send(Buffer.concat([header, head, bytes, checksum]));
        return;
      }
      await this.send(Buffer.concat([header, head]));
      await this.send(bytes);
      await this.send(checksum);
    } finally {
      this.framesUnderWay -= 1;
    }
  }

  private async send(piece: Uint8Array): Promise<void> {
    this.bytesWritten += piece.length;
    await this.sink.write(piece);
  }
}
