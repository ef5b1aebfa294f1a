import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import { openArchive, type Archive } from '../../../src/archive/archive.js';
import type { Combination } from '../../../src/chain/combination.js';
import { readCombination } from '../../../src/chain/read-combination.js';
import { FrameWriter } from '../../../src/stream/frame-writer.js';
import { Proto3Writer } from '../../../src/stream/proto3.js';
import type { StreamHeader } from '../../../src/stream/stream-header.js';
import { collectingSink, pool } from '../streams.js';
import { someHeader } from './feed.js';

export const SECTOR = 512;

/** A write of some sectors: bytes of one value, zeroes, or a discard. Sectors. */
export interface Write {
  readonly at: number;
  readonly count: number;
  readonly kind: 'data' | 'packed' | 'zero' | 'discard';
  readonly fill: number;
}

/** An archive as it is written down: ascending writes, in one or more passes. */
export interface Wanted {
  readonly passes: readonly (readonly Write[])[];
  readonly indexed: boolean;
  readonly header?: Partial<StreamHeader>;
}

/** What a write brings: no two sectors alike. */
export function bytesOf({ at, count, kind, fill }: Write): Buffer {
  const bytes = Buffer.alloc(count * SECTOR);
  if (kind === 'zero' || kind === 'discard') return bytes;
  for (let i = 0; i < count; i++) bytes.fill(`sector ${at + i} of ${fill} `, i * SECTOR, (i + 1) * SECTOR);
  return bytes;
}

export function applyWrites(volume: Buffer, passes: readonly (readonly Write[])[]): void {
  for (const write of passes.flat()) bytesOf(write).copy(volume, write.at * SECTOR);
}

/** The archive's file as bytes; one that is nameless takes back at its end what its header names. */
export async function archiveBytes(
  size: number,
  { passes, indexed, header }: Wanted,
  isNameless = false,
): Promise<Buffer> {
  const sink = collectingSink();
  const writer = new FrameWriter(sink, { indexed });
  await writer.start({ ...someHeader(size), base: null, result: null, ...header });
  for (const [index, pass] of passes.entries()) {
    if (index > 0) await writer.nextPass();
    for (const write of pass) await writeOne(writer, write);
  }
  await writer.finish(isNameless);
  return sink.bytes();
}

async function writeOne(writer: FrameWriter, write: Write): Promise<void> {
  const bytes = bytesOf(write);
  const offset = write.at * SECTOR;
  if (write.kind === 'zero' || write.kind === 'discard') await writer[write.kind](offset, bytes.length);
  else if (write.kind === 'data') await writer.data(offset, bytes);
  else {
    const packed = { codec: 1, bytes: deflateSync(bytes) };
    await writer.data(offset, bytes, { crc: crc32(bytes), packed });
  }
}

/** A PROTO[3] file of records in any order. */
export async function proto3Bytes(writes: readonly Write[]): Promise<Buffer> {
  const sink = collectingSink();
  const writer = new Proto3Writer(sink);
  await writer.start();
  for (const write of writes) await writer.data(write.at * SECTOR, bytesOf(write));
  await writer.finish();
  return sink.bytes();
}

export async function openBytes(
  folder: string,
  name: string,
  bytes: Uint8Array,
  proto3: 'changes' | 'undo' | null = null,
): Promise<Archive> {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return await openArchive(path, { proto3 });
}

/** Writes a combination's blocks over a volume, and makes sure that they ascend. */
export async function landOn(volume: Buffer, plan: Combination): Promise<void> {
  let end = 0;
  let bytes = 0;
  for await (const block of readCombination(plan, { lend: pool() })) {
    if (block.offset < end) throw new Error(`a block at ${block.offset} after one that ended at ${end}`);
    end = block.offset + block.length;
    bytes += block.length;
    if (block.kind === 'data') {
      block.data.bytes.copy(volume, block.offset);
      block.data.release();
    } else volume.fill(0, block.offset, end);
  }
  if (bytes !== plan.bytes) throw new Error(`${bytes} bytes instead of ${plan.bytes}`);
}

/** Writes `1.undo` and so on into a folder: each leads from the state `S1`, … back to the one before it, a day earlier. */
export async function writeChain(folder: string, count: number): Promise<void> {
  for (let index = 1; index <= count; index++) {
    const header = { kind: 'undo', base: `S${index}`, result: `S${index - 1}` } as const;
    const passes = [[{ at: index, count: 1, kind: 'data', fill: index }]] as const;
    const time = `2026-01-0${index}T12:00:00Z`;
    const bytes = await archiveBytes(16 * SECTOR, { passes, indexed: true, header: { ...header, time } });
    writeFileSync(join(folder, `${index}.undo`), bytes);
  }
}
