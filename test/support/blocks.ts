import { crc32 } from 'node:zlib';
import type { Applier } from '../../src/engine/applier.js';
import { BlockBatch } from '../../src/stream/batches/batch.js';
import type { AnnouncedWrites, Announcement, Block, Mark, StreamItem } from '../../src/stream/block.js';
import type { StreamHeader } from '../../src/stream/stream-header.js';

/** A data block of one byte over and over; counts how often it is released. */
export function dataBlock(offset: number, length: number, byte: number, released = { count: 0 }): Block {
  return {
    kind: 'data',
    offset,
    length,
    data: { bytes: Buffer.alloc(length, byte), release: () => (released.count += 1) },
  };
}

/** Bytes of which no sector is like its neighbours, and none is zero. */
export function patterned(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let sector = 0; sector * 512 < size; sector++) {
    bytes.subarray(sector * 512, (sector + 1) * 512).fill((sector % 255) + 1);
  }
  return bytes;
}

/** The header of an undo of changes from A to B. */
export function undoFor(volumeSize: number, blockSize: number): StreamHeader {
  return {
    kind: 'undo',
    volumeSize,
    blockSize,
    base: 'B',
    result: 'A',
    expectedBytes: 0,
    names: {},
    host: 'here',
    time: '2026-01-02T03:04:05.000Z',
    writer: 'test',
  };
}

/** These entries as a batch, its memory with each block's own. */
export function batchOf(...items: readonly Exclude<StreamItem, Mark>[]): BlockBatch {
  const blocks = items.flatMap((item) => (item.kind === 'data' ? [item] : []));
  const bytes = Buffer.concat(blocks.map(({ data }) => data.bytes));
  const release = () => {
    for (const { data } of blocks) data.release();
  };
  const batch = new BlockBatch(blocks.length === 0 ? null : { bytes, release });
  let start = 0;
  for (const item of items) {
    if (item.kind === 'section') batch.add({ ...item, crc: item.oldCrc });
    else if (item.kind === 'data') {
      const { kind, offset, length, data } = item;
      batch.add({ kind, offset, length, start, crc: crc32(data.bytes) });
      start += length;
    } else batch.add(item);
  }
  return batch;
}

/** Writes for a journal to announce. */
export function announced(...writes: readonly Announcement[]): AnnouncedWrites {
  return {
    count: writes.length,
    offsetOf: (write) => writes[write]?.offset ?? NaN,
    lengthOf: (write) => writes[write]?.length ?? NaN,
    crcOf: (write) => (writes[write]?.zeroes === false ? writes[write].crc : null),
  };
}

/** Applies a batch of one block. */
export async function applyBlock(applier: Applier, block: Block): Promise<void> {
  await applier.apply(batchOf(block));
}
