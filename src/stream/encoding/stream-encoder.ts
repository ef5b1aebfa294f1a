import { crc32 } from '../../bytes/contents.js';
import { type BlockBatch, ENTRY } from '../batches/batch.js';
import type { KnownOfBytes, WrittenStream } from '../block-writer.js';
import { type AnnouncedWrites, MAX_BLOCK_LENGTH, type Proof, type Section } from '../block.js';
import { ExtentOrder } from '../extent-order.js';
import {
  ANNOUNCEMENT,
  DATA,
  DATA_PREFIX_LENGTH,
  DISCARD,
  encodeAnnouncements,
  encodeEnd,
  encodePass,
  END,
  NAMELESS,
  NEXT_PASS,
  OPTIONAL,
  PROOF,
  PROOF_LENGTH,
  putDataPrefix,
  putProof,
  putRange,
  putSection,
  RANGE_LENGTH,
  RAW,
  RAW_CRC_LENGTH,
  SECTION,
  SECTION_LENGTH,
  ZERO,
  type DataPrefix,
  type StreamTotals,
} from '../frame-format.js';
import { INDEX, IndexWriter } from '../stored/index-format.js';
import { CHECKPOINT, encodeCheckpoint } from '../mark-format.js';
import { GatheredFrames } from './gathered-frames.js';

/**
 * Encodes a PROTO[4] stream into memory, without waiting for a sink: its blocks in their order, its totals and its
 * index. A block out of order is a bug of ours: it throws a plain Error, and nothing of the block is encoded.
 */
export class StreamEncoder {
  readonly gathered = new GatheredFrames();
  private dataBytes = 0;
  private zeroBytes = 0;
  private discardBytes = 0;
  private order = new ExtentOrder(0);
  private index: IndexWriter | null;

  constructor(isIndexed: boolean) {
    this.index = isIndexed ? new IndexWriter() : null;
  }

  /** Begins a stream of a volume of this size. */
  begin(volumeSize: number): void {
    this.order = new ExtentOrder(volumeSize);
  }

  /** Continues a stream that has no end frame yet. */
  continue(volumeSize: number, { totals, pass, cursor, chain, length, index }: WrittenStream): void {
    this.dataBytes = totals.dataBytes;
    this.zeroBytes = totals.zeroBytes;
    this.discardBytes = totals.discardBytes;
    this.order = new ExtentOrder(volumeSize, pass, cursor);
    this.gathered.count = totals.frames;
    this.gathered.chain.value = chain;
    this.gathered.length = length;
    if (index === null) return;
    this.index = new IndexWriter(index.last);
    for (const { offset, length: blockLength, position } of index.entries)
      this.enter(offset, blockLength, position);
  }

  /** Until what is gathered is passed on, the bytes must stay as they are. */
  data(offset: number, bytes: Uint8Array, { crc = crc32(bytes), packed }: KnownOfBytes = {}): void {
    if (bytes.length > MAX_BLOCK_LENGTH) throw new Error(`a block of ${bytes.length} bytes is too long`);
    const rawLength = bytes.length;
    if (packed === undefined) this.putData({ offset, rawLength, codec: RAW }, bytes, crc);
    else {
      const packedCrc = crc32(packed.bytes);
      this.putData({ offset, rawLength, codec: packed.codec }, packed.bytes, packedCrc, crc);
    }
  }

  /** A block as another stream's data frame has it: its checksum, then a codec's output. */
  stored(prefix: DataPrefix, stored: Uint8Array): void {
    this.putData(prefix, stored, crc32(stored));
  }

  zero(offset: number, length: number): void {
    this.putRange(ZERO, offset, length);
    this.zeroBytes += length;
  }

  discard(offset: number, length: number): void {
    this.putRange(DISCARD, offset, length);
    this.discardBytes += length;
  }

  prove(proof: Proof): void {
    this.order.closeSection();
    const { gathered } = this;
    putProof(gathered.fields, gathered.begin({ type: PROOF, fieldsLength: PROOF_LENGTH }), proof);
    gathered.end();
  }

  openSection(section: Section): void {
    const { offset, length } = section;
    if (length > MAX_BLOCK_LENGTH) throw new Error(`a section of ${length} bytes is too long`);
    const problem = this.order.openSection(offset, length);
    if (problem !== null) throw new Error(problem);
    const { gathered } = this;
    putSection(gathered.fields, gathered.begin({ type: SECTION, fieldsLength: SECTION_LENGTH }), section);
    gathered.end();
  }

  /**
   * One entry of a batch, whose memory must stay as it is until what is gathered is passed on.
   *
   * @param known of its data, if that is sent compressed
   */
  entry(batch: BlockBatch, entry: number, known?: KnownOfBytes): void {
    const offset = batch.offsetAt(entry);
    const length = batch.lengthAt(entry);
    const crc = batch.crcAt(entry);
    const kind = batch.kindAt(entry);
    if (kind === ENTRY.data) this.data(offset, batch.bytesAt(entry), known ?? { crc });
    else if (kind === ENTRY.proof) this.prove({ offset, length, crc });
    else if (kind === ENTRY.section)
      this.openSection({ offset, length, oldCrc: crc, newCrc: batch.newCrcAt(entry) });
    else if (kind === ENTRY.zero) this.zero(offset, length);
    else this.discard(offset, length);
  }

  announce(writes: AnnouncedWrites): void {
    this.gathered.put(ANNOUNCEMENT, encodeAnnouncements(writes), OPTIONAL);
  }

  checkpoint(token: Uint8Array): void {
    this.order.closeSection();
    this.gathered.put(CHECKPOINT, encodeCheckpoint(this.gathered.chain.value, token));
  }

  nextPass(): void {
    this.order.startPass();
    this.gathered.put(NEXT_PASS, encodePass(this.order.pass));
  }

  /** The rest of the index, and the end frame. */
  end(isNameless: boolean): StreamTotals {
    if (this.index?.isEmpty === false) this.putIndex(this.index);
    const { gathered, dataBytes, zeroBytes, discardBytes } = this;
    const totals = { frames: gathered.count, dataBytes, zeroBytes, discardBytes };
    const end = encodeEnd(totals, gathered.chain.value, this.index?.last);
    gathered.put(END, end, isNameless ? NAMELESS : 0);
    return totals;
  }

  /** @param rawCrc the CRC-32 of the block itself, to be put before a codec's output; null: there is nothing to put */
  private putData(prefix: DataPrefix, body: Uint8Array, crc: number, rawCrc: number | null = null): void {
    const { gathered } = this;
    const { offset, rawLength } = prefix;
    this.take(offset, rawLength);
    this.dataBytes += rawLength;
    const position = gathered.length;
    const fieldsLength = DATA_PREFIX_LENGTH + (rawCrc === null ? 0 : RAW_CRC_LENGTH);
    const at = gathered.begin({ type: DATA, fieldsLength, bodyLength: body.length });
    putDataPrefix(gathered.fields, at, prefix);
    if (rawCrc !== null) gathered.fields.setUint32(at + DATA_PREFIX_LENGTH, rawCrc);
    gathered.end(body, crc);
    this.enter(offset, rawLength, position);
  }

  private putRange(type: string, offset: number, length: number): void {
    const { gathered } = this;
    this.take(offset, length);
    const position = gathered.length;
    putRange(gathered.fields, gathered.begin({ type, fieldsLength: RANGE_LENGTH }), { offset, length });
    gathered.end();
    this.enter(offset, length, position);
  }

  private take(offset: number, length: number): void {
    const problem = this.order.take(offset, length);
    if (problem !== null) throw new Error(problem);
  }

  /** Records where a block's frame starts; puts an index frame when enough blocks have come together. */
  private enter(offset: number, length: number, position: number): void {
    const { index } = this;
    if (index === null) return;
    index.add(offset, length, position);
    if (index.isFull) this.putIndex(index);
  }

  private putIndex(index: IndexWriter): void {
    this.gathered.put(INDEX, index.takeFrame(this.gathered.length), OPTIONAL);
  }
}
