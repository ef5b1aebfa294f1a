import type { ByteSource, LendBuffer } from '../bytes/byte-channel.js';
import { FormatError, TruncatedStreamError } from '../errors.js';
import { BlockBatch } from './batches/batch.js';
import type { Mark } from './block.js';
import { ByteReader } from './frames/byte-reader.js';
import { HEADER, PROTOCOL_LINE, QUESTION } from './frame-format.js';
import { FrameReader } from './frames/frame-reader.js';
import { BatchFiller } from './batches/gather-batches.js';
import { readIntoBatches } from './batches/read-batches.js';
import { PROTO3_LINE, Proto3Blocks, type TargetEnd } from './proto3.js';
import { Proto4Blocks } from './proto4-blocks.js';
import { parseHeader, type StreamHeader } from './stream-header.js';
import { unpackBatches } from './batches/unpack-batches.js';

/** The longest line that can still be ours; the output of a login script is cut here. */
const MAX_LINE_LENGTH = 64;

/** The stream begins with a line that is not from lvmsync. */
export class ForeignLineError extends FormatError {
  /** Cut if it is long. */
  readonly line: string;

  /** @param bytes one character for each byte */
  constructor(what: string, bytes: string) {
    const seen = JSON.stringify(bytes.replace(/[^\x20-\x7e]/g, '.'));
    super(what, 0, 'first line', `${seen} is not lvmsync's; over ssh, a login script may have printed it`);
    this.line = Buffer.from(bytes, 'latin1').toString();
  }
}

/** A stream whose line and header have been read. */
export interface IncomingStream {
  readonly protocol: 3 | 4;
  /** Null in PROTO[3], which has no header. */
  readonly header: StreamHeader | null;
  /** Whether its writer only asks what applying it would do: then no block comes. */
  readonly asks: boolean;
  /** Can be read once. Ends only if the stream is complete, else throws TruncatedStreamError or FormatError. */
  readonly blocks: AsyncIterable<BlockBatch | Mark>;
}

/**
 * Opens a stream of either protocol. Data comes in memory from `lend`, which the consumer of a batch releases. Throws
 * TruncatedStreamError or FormatError, with `what` in the message.
 *
 * @param target what it is applied to, null if that is not known
 */
export async function openIncomingStream(
  source: ByteSource,
  lend: LendBuffer,
  what: string,
  target: TargetEnd | null = null,
): Promise<IncomingStream> {
  const reader = new ByteReader(source, what);
  const protocol = await readProtocolLine(reader, what);
  const filler = new BatchFiller(lend);
  if (protocol === 3) {
    const records = readIntoBatches(new Proto3Blocks(reader, what, target), filler);
    return { protocol, header: null, asks: false, blocks: unpackBatches(records, lend, what) };
  }
  const frames = new FrameReader(reader, what);
  const { header, asks } = await readHeader(frames, lend, what);
  const { changed, unchanged } = header.sample ?? { changed: 0, unchanged: 0 };
  const gathered = readIntoBatches(new Proto4Blocks(frames, header), filler, changed + unchanged);
  return { protocol, header, asks, blocks: unpackBatches(gathered, lend, what) };
}

/**
 * Reads the first line of a stream or of a receiver's replies. Throws FormatError unless it is one of ours,
 * TruncatedStreamError if that line is cut.
 */
export async function readProtocolLine(reader: ByteReader, what: string): Promise<3 | 4> {
  let line = '';
  while (!line.endsWith('\n') && line.length < MAX_LINE_LENGTH && !(line !== '' && (await reader.atEnd()))) {
    line += (await reader.readExactly(1, 'the line "lvmsync PROTO[4]"')).toString('latin1');
  }
  const version = /^lvmsync PROTO\[(\d{1,9})\]\n$/.exec(line)?.[1];
  if (version === '3' || version === '4') return version === '3' ? 3 : 4;
  if ([PROTOCOL_LINE, PROTO3_LINE].some((known) => known.startsWith(line))) {
    throw new TruncatedStreamError(what, reader.offset, 'the rest of its first line expected');
  }
  if (version !== undefined) {
    throw new FormatError(
      what,
      0,
      'protocol',
      `PROTO[${version}] needs another version of lvmsync; 3 and 4 are known`,
    );
  }
  throw new ForeignLineError(what, line);
}

async function readHeader(
  frames: FrameReader,
  lend: LendBuffer,
  what: string,
): Promise<Pick<IncomingStream, 'asks'> & { readonly header: StreamHeader }> {
  const frame = await frames.next(lend);
  if ('payload' in frame && [HEADER, QUESTION].includes(frame.header.type) && frame.header.flags === 0) {
    const asks = frame.header.type === QUESTION;
    return { header: parseHeader(frame.payload, what, frame.position), asks };
  }
  if ('data' in frame) frame.data.release();
  throw new FormatError(what, frame.position, 'first frame', 'it is not a header');
}

/** The batches of a stream and the marks between them, one after another. One can be put back. */
export class IncomingItems {
  private readonly items: AsyncIterator<BlockBatch | Mark>;
  private held: BlockBatch | Mark | null = null;

  constructor(blocks: AsyncIterable<BlockBatch | Mark>) {
    this.items = blocks[Symbol.asyncIterator]();
  }

  /** The next one; null: the stream has ended properly. Throws what reading a stream throws. */
  async next(): Promise<BlockBatch | Mark | null> {
    const { held } = this;
    this.held = null;
    if (held !== null) return held;
    const next = await this.items.next();
    return next.done === true ? null : next.value;
  }

  /** Puts back what `next` returned last, to be returned next. */
  putBack(item: BlockBatch | Mark): void {
    this.held = item;
  }

  /** Gives back the memory of a batch that was put back. */
  drop(): void {
    if (this.held instanceof BlockBatch) this.held.release();
    this.held = null;
  }
}
