import {
  COW_MAGIC,
  encodeCowHeader,
  encodeExceptions,
  StoreLayout,
  type CowHeader,
} from '../../src/changes/cow-format.js';

/** What a kernel will not write on demand. */
export interface StoreRecipe {
  readonly chunkSectors: number;
  /** In table order; new chunks are dealt out as the kernel does unless given. */
  readonly exceptions: readonly { oldChunk: number; newChunk?: number }[];
  readonly header?: Partial<CowHeader>;
  /** Bytes of the store; by default just large enough, with the zeroed area after a full one. */
  readonly size?: number;
  /** What unused space holds. */
  readonly fill?: number;
  /** The volume as it was: where given, the data chunks hold its bytes. */
  readonly base?: Uint8Array;
}

/** An exception store in memory. Data chunks hold the fill byte, or the base's bytes. */
export function makeStore({ chunkSectors, exceptions, header, size, fill = 0, base }: StoreRecipe): Buffer {
  const layout = new StoreLayout(chunkSectors);
  const bytes = Buffer.alloc(Math.max(size ?? 0, layout.bytesUsed(exceptions.length)), fill);
  const { chunkSize, areaEntries } = layout;
  bytes.fill(0, 0, chunkSize);
  encodeCowHeader({ magic: COW_MAGIC, valid: 1, version: 1, chunkSectors, ...header }).copy(bytes);
  for (let area = 0; area <= Math.floor(exceptions.length / areaEntries); area++) {
    const entries = exceptions
      .slice(area * areaEntries, (area + 1) * areaEntries)
      .map(({ oldChunk, newChunk }, entry) => ({
        oldChunk,
        newChunk: newChunk ?? area * (areaEntries + 1) + 2 + entry,
      }));
    encodeExceptions(entries, chunkSize).copy(bytes, layout.tableOffset(area));
    if (base === undefined) continue;
    for (const { oldChunk, newChunk } of entries) {
      bytes.set(base.subarray(oldChunk * chunkSize, (oldChunk + 1) * chunkSize), newChunk * chunkSize);
    }
  }
  return size === undefined ? bytes : bytes.subarray(0, size);
}
