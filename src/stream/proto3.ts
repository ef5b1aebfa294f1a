import type { ByteSink, LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { FormatError } from '../errors.js';
import { type BlockBatch, ENTRY } from './batches/batch.js';
import type { BlockWriter } from './block-writer.js';
import { type Block, MAX_BLOCK_LENGTH } from './block.js';
import type { ByteReader } from './byte-reader.js';
import type { StreamTotals } from './frame-format.js';

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
 *
 * @param target null if it is not known
 */
export async function* readProto3Blocks(
  reader: ByteReader,
  lend: LendBuffer,
  what: string,
  target: TargetEnd | null = null,
): AsyncGenerator<Block> {
  while (!(await reader.atEnd())) {
    const position = reader.offset;
    const header = await reader.readExactly(RECORD_HEADER_LENGTH, 'a record');
    const start = Number(header.readBigUInt64BE(0));
    const end = start + header.readUInt32BE(8);
    if (!Number.isSafeInteger(end)) throw new FormatError(what, position, 'offset', 'impossibly large');
    const reachesPast = target !== null && start < target.size && target.size < end;
    for (let offset = start; offset < end;) {
      const length = Math.min(end - offset, MAX_BLOCK_LENGTH);
      const mayEndAt = reachesPast && target.size < offset + length ? target.size - offset : length;
      const data = await readData(reader, lend, length, mayEndAt);
      const { length: found } = data.bytes;
      if (found > 0) yield { kind: 'data', offset, length: found, data };
      else data.release();
      if (found < length) target?.notice(describeCut(what, target, start, end));
      if (found < length) return;
      offset += length;
    }
  }
}

function describeCut(what: string, { path, size }: TargetEnd, start: number, end: number): string {
  return (
    `${what}: its last record announces ${end - start} bytes at byte ${start} and has ${size - start}, ` +
    `which reach to the end of ${path}: the Ruby tool writes this if a volume ends within a chunk; accepted as complete`
  );
}

/** The next bytes; fewer if the stream may end there, and does. */
async function readData(
  reader: ByteReader,
  lend: LendBuffer,
  length: number,
  mayEndAt: number,
): Promise<LentBuffer> {
  const data = await lend(length);
  try {
    const bytes = data.bytes.subarray(0, mayEndAt);
    await reader.readInto(bytes, 'data');
    if (mayEndAt < length && (await reader.atEnd())) {
      return {
        bytes,
        release: () => {
          data.release();
        },
      };
    }
    await reader.readInto(data.bytes.subarray(mayEndAt), 'data');
    return data;
  } catch (error) {
    data.release();
    throw error;
  }
}
