import type { ByteSink } from '../bytes/byte-channel.js';
import { crc32 } from '../bytes/contents.js';
import { FormatError } from '../errors.js';
import { type BlockBatch, ENTRY } from './batches/batch.js';
import type { BlockWriter } from './block-writer.js';
import type { Entry } from './batches/batch.js';
import { MAX_BLOCK_LENGTH } from './block.js';
import type { ByteReader } from './frames/byte-reader.js';
import { readNumber, type StreamTotals } from './frame-format.js';
import type { ItemReader, Step } from './batches/read-batches.js';

/*
 * PROTO[3], the Ruby tool's format: its line, then records until the end of file:
 *
 *   record := u64be offset | u32be length | that many bytes
 *
 * Nothing marks the end, orders the records or guards their bytes.
 */
export const PROTO3_LINE = 'lvmsync PROTO[3]\n';
const RECORD_HEADER_LENGTH = 12;
const ZEROES = Buffer.alloc(MAX_BLOCK_LENGTH);

/** Writes a PROTO[3] stream: the header's information is lost, and zeroes are sent as data. */
export class Proto3Writer implements BlockWriter {
  readonly carriesProofs = false;
  bytesWritten = 0;
  private frames = 0;
  private dataBytes = 0;

  constructor(private readonly sink: ByteSink) {}

  async start(): Promise<void> {
    await this.send(Buffer.from(PROTO3_LINE));
  }

  async data(offset: number, bytes: Uint8Array): Promise<void> {
    const header = Buffer.allocUnsafe(RECORD_HEADER_LENGTH);
    header.writeBigUInt64BE(BigInt(offset), 0);
    header.writeUInt32BE(bytes.length, 8);
    await this.send(header);
    await this.send(bytes);
    this.frames += 1;
    this.dataBytes += bytes.length;
  }

  async zero(offset: number, length: number): Promise<void> {
    for (let done = 0; done < length; done += ZEROES.length) {
      await this.data(offset + done, ZEROES.subarray(0, Math.min(ZEROES.length, length - done)));
    }
  }

  async discard(offset: number, length: number): Promise<void> {
    await this.zero(offset, length);
  }

  prove(): Promise<void> {
    // The format cannot carry proofs.
    return Promise.resolve();
  }

  openSection(): Promise<void> {
    return Promise.reject(new Error('PROTO[3] has no sections: its blocks are whole'));
  }

  async batch(batch: BlockBatch): Promise<void> {
    for (let entry = batch.first; entry < batch.count; entry++) {
      if (!batch.isBlockAt(entry)) continue;
      const { offset, length } = batch.extentAt(entry);
      if (batch.kindAt(entry) === ENTRY.data) await this.data(offset, batch.bytesAt(entry));
      else await this.zero(offset, length);
    }
  }

  nextPass(): Promise<void> {
    // Records may come in any order.
    return Promise.resolve();
  }

  async finish(): Promise<StreamTotals> {
    await this.sink.end();
    return { frames: this.frames, dataBytes: this.dataBytes, zeroBytes: 0, discardBytes: 0 };
  }

  private async send(piece: Uint8Array): Promise<void> {
    this.bytesWritten += piece.length;
    await this.sink.write(piece);
  }
}

/** The target of the records. */
export interface TargetEnd {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly notice: (line: string) => void;
}

/**
 * Reads the records after the line, long ones in blocks of at most 1 MiB. The end of file between two records is the
 * end; anywhere else it throws TruncatedStreamError.
 *
 * There is one exception: a volume may end within its last chunk. In a snapback the Ruby tool announces the whole
 * chunk, but writes only the bytes that exist. So a record that reaches past the target's end, and stops exactly there
 * with the stream, is complete; a notice says so.
 */
export class Proto3Blocks implements ItemReader {
  entry: Entry = { kind: 'data', offset: 0, length: 0 };
  readonly packed = null;
  readonly mark = null;
  position = 0;
  dataLength = 0;
  private state: 'header' | 'place' | 'data' | 'ended' = 'header';
  /** The record: where it starts and ends in the volume, and where in it the next block starts. */
  private start = 0;
  private end = 0;
  private offset = 0;
  /** The block: where its data goes, how much of it is there, and the CRC-32 of that. */
  private memory: Buffer = ZEROES;
  private memoryStart = 0;
  private done = 0;
  private crc = 0;

  /** @param target null if it is not known */
  constructor(
    private readonly reader: ByteReader,
    private readonly what: string,
    private readonly target: TargetEnd | null = null,
  ) {}

  placeData(memory: Buffer, start: number): void {
    this.memory = memory;
    this.memoryStart = start;
    this.done = 0;
    this.crc = 0;
    this.position = this.reader.offset;
    this.state = 'data';
  }

  async waitForBytes(): Promise<void> {
    const { reader, state } = this;
    if (await reader.gather(state === 'header' ? RECORD_HEADER_LENGTH : 1)) return;
    if (state === 'header') {
      if (reader.atHand > 0) throw reader.endTooSoon('a record');
      this.state = 'ended';
    } else this.endInData();
  }

  advance(): Step {
    for (;;) {
      switch (this.state) {
        case 'header':
          if (!this.takeHeader()) return 'bytes';
          break;
        case 'data':
          return this.takeData() ? this.pass() : 'bytes';
        default:
          return this.state === 'place' ? 'place' : 'end';
      }
    }
  }

  private takeHeader(): boolean {
    const { reader } = this;
    if (reader.atHand < RECORD_HEADER_LENGTH) return false;
    const { bytes, at, offset: position } = reader;
    this.start = readNumber(bytes, at, { what: this.what, position, field: 'offset' });
    this.end = this.start + bytes.readUInt32BE(at + 8);
    if (!Number.isSafeInteger(this.end))
      throw new FormatError(this.what, position, 'offset', 'impossibly large');
    reader.at += RECORD_HEADER_LENGTH;
    this.offset = this.start;
    this.startBlock();
    return true;
  }

  private startBlock(): void {
    this.dataLength = Math.min(this.end - this.offset, MAX_BLOCK_LENGTH);
    this.state = this.dataLength > 0 ? 'place' : 'header';
  }

  private takeData(): boolean {
    const { reader, done } = this;
    const view = reader.bytes.subarray(reader.at, reader.at + this.dataLength - done);
    this.memory.set(view, this.memoryStart + done);
    this.crc = crc32(view, this.crc);
    reader.at += view.length;
    this.done += view.length;
    return this.done === this.dataLength;
  }

  private pass(): Step {
    const { offset, done: length, crc, memoryStart: start } = this;
    this.entry = { kind: 'data', offset, length, crc, start };
    this.offset += length;
    this.startBlock();
    return 'item';
  }

  /** The stream has ended within a block: where the target ends, too, or it is cut short. */
  private endInData(): void {
    const { target, start, end, offset, done } = this;
    const isCut = target !== null && start < target.size && target.size < end;
    if (!isCut || offset + done !== target.size) throw this.reader.endTooSoon('data');
    target.notice(describeCut(this.what, target, start, end));
    this.end = target.size;
    this.dataLength = done;
    if (done === 0) this.state = 'ended';
  }
}

function describeCut(what: string, { path, size }: TargetEnd, start: number, end: number): string {
  return (
    `${what}: its last record announces ${end - start} bytes at byte ${start} and has ${size - start}, ` +
    `which reach to the end of ${path}: the Ruby tool writes this if a volume ends within a chunk; accepted as complete`
  );
}
