import { crc32 } from 'node:zlib';
import { eachItem } from '../../../src/stream/batches/batch.js';
import type { ByteSink, ByteSource, LentBuffer } from '../../../src/bytes/byte-channel.js';
import { LvmsyncError } from '../../../src/errors.js';
import type { BlockWriter } from '../../../src/stream/block-writer.js';
import type { StreamItem } from '../../../src/stream/block.js';
import { FrameWriter } from '../../../src/stream/frame-writer.js';
import { openIncomingStream } from '../../../src/stream/incoming-stream.js';
import type { StreamHeader } from '../../../src/stream/stream-header.js';

/** Gives `bytes` in pieces of the given lengths, the last one again and again; each piece is spoilt at the next. */
export async function* feed(bytes: Uint8Array, ...lengths: readonly number[]): ByteSource {
  let index = 0;
  for (let at = 0; at < bytes.length;) {
    const length = lengths[Math.min(index, lengths.length - 1)] ?? bytes.length;
    const piece = Buffer.from(bytes.subarray(at, at + length));
    yield await Promise.resolve(piece);
    piece.fill(0xee);
    at += length;
    index += 1;
  }
}

/** Lends memory and knows what of it did not come back. */
export class Lender {
  outstanding = 0;
  longest = 0;

  readonly lend = (length: number): Promise<LentBuffer> => {
    this.outstanding += 1;
    this.longest = Math.max(this.longest, length);
    let out = true;
    const release = () => {
      if (!out) throw new Error('given back twice');
      out = false;
      this.outstanding -= 1;
    };
    return Promise.resolve({ bytes: Buffer.alloc(length), release });
  };
}

/** What a reader made of a stream; `outcome` is the class of the error that ended it. */
export interface Reading {
  readonly outcome: string;
  readonly error: LvmsyncError | null;
  readonly protocol: 3 | 4 | null;
  readonly header: StreamHeader | null;
  readonly items: readonly string[];
}

/** Reads all of a stream, releasing what comes; fails where a reader keeps memory or throws a foreign error. */
export async function readAll(source: ByteSource, lender = new Lender()): Promise<Reading> {
  const items: string[] = [];
  let opened: Pick<Reading, 'protocol' | 'header'> = { protocol: null, header: null };
  let error: LvmsyncError | null = null;
  try {
    const { protocol, header, blocks } = await openIncomingStream(source, lender.lend, 'test stream');
    opened = { protocol, header };
    for await (const item of eachItem(blocks)) {
      items.push(describeItem(item));
      if (item.kind === 'data') item.data.release();
    }
  } catch (thrown) {
    if (!(thrown instanceof LvmsyncError)) throw thrown;
    error = thrown;
  }
  if (lender.outstanding !== 0) throw new Error(`${lender.outstanding} buffers were not given back`);
  return { outcome: error?.code ?? 'ok', error, ...opened, items };
}

export function describeItem(item: StreamItem): string {
  if (item.kind === 'next-pass' || item.kind === 'nameless') return item.kind;
  if (item.kind === 'resume') return `resume ${item.token.toString('hex')}`;
  if (item.kind === 'checkpoint') return `checkpoint ${item.frame} ${item.token.toString('hex')}`;
  const { kind, offset, length } = item;
  if (item.kind === 'proof') return `proof ${offset} ${length} ${hex(item.crc)}`;
  if (item.kind === 'section') {
    return `section ${offset} ${length} ${hex(item.oldCrc)} ${hex(item.newCrc)}`;
  }
  if (kind !== 'data') return `${kind} ${offset} ${length}`;
  return `data ${offset} ${length} ${hex(crc32(item.data.bytes))}`;
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}

type SessionMarks = Pick<FrameWriter, 'checkpoint' | 'resume' | 'audit'>;

/** Reads a good stream and writes what came out of it once more. */
export async function copyStream(
  bytes: Uint8Array,
  writer: BlockWriter & Partial<SessionMarks>,
): Promise<void> {
  const { header, blocks } = await openIncomingStream(feed(bytes), new Lender().lend, 'test stream');
  await writer.start(header ?? someHeader(0));
  let isNameless = false;
  for await (const item of eachItem(blocks)) {
    if (item.kind === 'nameless') isNameless = true;
    else if (item.kind === 'next-pass') await writer.nextPass();
    else if (item.kind === 'proof') await writer.prove(item);
    else if (item.kind === 'section') await writer.openSection(item);
    else if (item.kind === 'resume') await writer.resume?.(item.token);
    else if (item.kind === 'checkpoint') await writer.checkpoint?.(item.token);
    else if (item.kind === 'audit') await writer.audit?.(item);
    else if (item.kind === 'data') await writer.data(item.offset, item.data.bytes);
    else await writer[item.kind](item.offset, item.length);
  }
  await (isNameless && writer instanceof FrameWriter ? writer.finish(true) : writer.finish());
}

/** Keeps the pieces as they were handed over, copies of their bytes, and whether the end was said. */
export class Collector implements ByteSink {
  readonly pieces: Uint8Array[] = [];
  ended = false;
  private readonly copies: Buffer[] = [];

  get bytes(): Buffer {
    return Buffer.concat(this.copies);
  }

  write(piece: Uint8Array): Promise<void> {
    this.pieces.push(piece);
    this.copies.push(Buffer.from(piece));
    return Promise.resolve();
  }

  end(): Promise<void> {
    this.ended = true;
    return Promise.resolve();
  }
}

export function someHeader(volumeSize: number): StreamHeader {
  return {
    kind: 'changes',
    volumeSize,
    blockSize: 512,
    base: null,
    result: 'some-state',
    expectedBytes: 0,
    names: { source: 'vg/snapshot' },
    host: 'alpha',
    time: '2026-01-02T03:04:05Z',
    writer: 'lvmsync test',
  };
}
