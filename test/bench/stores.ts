import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import type { ByteSink } from '../../src/bytes/byte-channel.js';
import { COW_MAGIC, encodeCowHeader, encodeExceptions, StoreLayout } from '../../src/changes/cow-format.js';

/** Which of `2 ** bits` chunks a store lists at `index`: each once, in an order that looks like chance. */
export function scatter(index: number, bits: number): number {
  const mask = 2 ** bits - 1;
  let chunk = index & mask;
  // Each step can be undone, so no two indices meet.
  for (const factor of [0x2c1b_3c6d, 0x297a_2d39, 0x1656_67b1]) {
    chunk ^= chunk >>> (bits >> 1);
    chunk = Math.imul(chunk, factor) & mask;
  }
  return chunk ^ (chunk >>> (bits >> 1));
}

/** A sparse exception store as the kernel lays it out: header and tables are there, the old bytes are holes. */
export function writeSparseStore(
  path: string,
  chunkSectors: number,
  exceptions: number,
  oldChunkAt: (index: number) => number,
): void {
  const layout = new StoreLayout(chunkSectors);
  const { areaEntries, chunkSize } = layout;
  const file = openSync(path, 'wx');
  ftruncateSync(file, layout.bytesUsed(exceptions));
  writeSync(file, encodeCowHeader({ magic: COW_MAGIC, valid: 1, version: 1, chunkSectors }), null, null, 0);
  for (let area = 0; area * areaEntries < exceptions; area++) {
    const first = area * areaEntries;
    const table = Array.from({ length: Math.min(areaEntries, exceptions - first) }, (_, entry) => ({
      oldChunk: oldChunkAt(first + entry),
      newChunk: area * (areaEntries + 1) + 2 + entry,
    }));
    const bytes = encodeExceptions(table, chunkSize);
    writeSync(file, bytes, 0, bytes.length, layout.tableOffset(area));
  }
  closeSync(file);
}

/** Throws unless two volumes hold the same bytes in these chunks. */
export function compareChunks(
  ours: string,
  theirs: string,
  chunks: readonly number[],
  chunkSize: number,
): void {
  const files = [openSync(ours, 'r'), openSync(theirs, 'r')] as const;
  const [left, right] = [Buffer.alloc(chunkSize), Buffer.alloc(chunkSize)];
  for (const number of chunks) {
    readSync(files[0], left, 0, chunkSize, number * chunkSize);
    readSync(files[1], right, 0, chunkSize, number * chunkSize);
    if (!left.equals(right)) throw new Error(`${ours} and ${theirs} differ in chunk ${number}`);
  }
  files.forEach(closeSync);
}

/** Writes into an open file, which stays open. */
export function fileSink(handle: number): ByteSink {
  return {
    write: (piece) => {
      writeSync(handle, piece);
      return Promise.resolve();
    },
    end: () => Promise.resolve(),
  };
}

/** Such as "1 GiB"; in MB what is no whole MiB. */
export function sizeText(bytes: number): string {
  if (bytes % 2 ** 30 === 0) return `${bytes / 2 ** 30} GiB`;
  return bytes % 2 ** 20 === 0 ? `${bytes / 2 ** 20} MiB` : `${Math.round(bytes / 1e6)} MB`;
}
