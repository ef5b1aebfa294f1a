import { Parser } from 'binary-parser';
import { SECTOR } from '../bytes/extent.js';
import { FormatError, SnapshotError } from '../errors.js';

/**
 * The on-disk format of dm-snapshot's persistent exception store, as docs/cow-format.md describes it: a header chunk,
 * then areas of one table chunk and as many data chunks as the table has entries.
 */

/** "SnAp", little-endian. */
export const COW_MAGIC = 0x7041_6e53;
const COW_VERSION = 1;
export const HEADER_LENGTH = 16;
export const EXCEPTION_LENGTH = 16;
/** The kernel's own limit: a chunk in bytes fits a signed 32-bit number. */
const MAX_CHUNK_SECTORS = 0x7fff_ffff >>> 9;
const TWO_TO_32 = 0x1_0000_0000;

/** The store's header. */
export interface CowHeader {
  readonly magic: number;
  /** Any non-zero value is valid; the kernel writes 0 when the store overflowed. */
  readonly valid: number;
  readonly version: number;
  readonly chunkSectors: number;
}

const headerParser = new Parser()
  .endianness('little')
  .uint32('magic')
  .uint32('valid')
  .uint32('version')
  .uint32('chunkSectors');

/** Reads the header's four numbers, whatever they are. Throws FormatError if there are fewer than 16 bytes. */
export function parseCowHeader(bytes: Uint8Array, what: string): CowHeader {
  if (bytes.length < HEADER_LENGTH) {
    throw new FormatError(what, 0, 'header', `only ${bytes.length} bytes of ${HEADER_LENGTH}`);
  }
  return headerParser.parse(bytes);
}

export function encodeCowHeader(header: CowHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_LENGTH);
  bytes.writeUInt32LE(header.magic, 0);
  bytes.writeUInt32LE(header.valid, 4);
  bytes.writeUInt32LE(header.version, 8);
  bytes.writeUInt32LE(header.chunkSectors, 12);
  return bytes;
}

/** Throws SnapshotError, with the reason, unless the kernel would read a store with this header. */
export function checkCowHeader(header: CowHeader, what: string): void {
  if (header.magic === 0)
    throw new SnapshotError(what, 'the exception store was never initialized (its header is zero)');
  if (header.magic !== COW_MAGIC) {
    throw new SnapshotError(
      what,
      `not an exception store (magic 0x${hex(header.magic)} instead of 0x${hex(COW_MAGIC)})`,
    );
  }
  if (header.version !== COW_VERSION) {
    throw new SnapshotError(
      what,
      `unknown version ${header.version} of the exception store; only ${COW_VERSION} is known`,
    );
  }
  if (header.valid === 0) {
    throw new SnapshotError(
      what,
      'the snapshot is invalid: its store filled up and no longer has every change; ' +
        'make a new snapshot; "lvmsync --scan" of that one sends only what differs, which is less than a full copy',
    );
  }
  const { chunkSectors } = header;
  if (chunkSectors === 0 || (chunkSectors & (chunkSectors - 1)) !== 0 || chunkSectors > MAX_CHUNK_SECTORS) {
    throw new SnapshotError(
      what,
      `impossible chunk size of ${chunkSectors} sectors in the exception store's header`,
    );
  }
}

/** The arithmetic of a store with chunks of one size. All counts are in chunks unless bytes are mentioned. */
export class StoreLayout {
  readonly chunkSize: number;
  /** Entries in an area's table, which is also the number of its data chunks. */
  readonly areaEntries: number;

  constructor(chunkSectors: number) {
    this.chunkSize = chunkSectors * SECTOR;
    this.areaEntries = this.chunkSize / EXCEPTION_LENGTH;
  }

  /** Where the table of area `area` (0, 1, …) begins, in bytes. */
  tableOffset(area: number): number {
    return (1 + area * (this.areaEntries + 1)) * this.chunkSize;
  }

  /** Whether chunk `newChunk` of the store can contain an exception's data. */
  isDataChunk(newChunk: number): boolean {
    return newChunk >= 2 && (newChunk - 1) % (this.areaEntries + 1) !== 0;
  }

  /** Bytes of the store in use with this many exceptions: header, tables and data, as in the kernel's status. */
  bytesUsed(exceptions: number): number {
    const tables = Math.floor(exceptions / this.areaEntries) + 1;
    return (1 + tables + exceptions) * this.chunkSize;
  }
}

/** Exceptions in the order of their table: the chunk `oldChunks[i]` of the origin is saved in `newChunks[i]` of the store. */
export class ExceptionBatch {
  readonly oldChunks: Float64Array;
  readonly newChunks: Float64Array;
  /** How many entries are filled. */
  count = 0;

  constructor(capacity: number) {
    this.oldChunks = new Float64Array(capacity);
    this.newChunks = new Float64Array(capacity);
  }
}

/**
 * Adds a piece of a table to `batch`; false if the table ends in it (at the first entry whose new chunk is 0, whatever
 * its old chunk and whatever follows). `table` starts at a multiple of 4 bytes of its memory.
 */
export function parseExceptions(table: Uint8Array, batch: ExceptionBatch): boolean {
  // Typed arrays: a hundred times faster than a field parser. Only for little-endian hosts, like dm-snapshot itself.
  const words = new Uint32Array(table.buffer, table.byteOffset, table.length / 4);
  const { oldChunks, newChunks } = batch;
  let at = batch.count;
  for (let word = 0; word < words.length; word += 4) {
    const newChunk = (words[word + 2] ?? 0) + (words[word + 3] ?? 0) * TWO_TO_32;
    if (newChunk === 0) {
      batch.count = at;
      return false;
    }
    oldChunks[at] = (words[word] ?? 0) + (words[word + 1] ?? 0) * TWO_TO_32;
    newChunks[at] = newChunk;
    at += 1;
  }
  batch.count = at;
  return true;
}

/** One table of `chunkSize` bytes, zero past the given exceptions. */
export function encodeExceptions(
  exceptions: readonly { oldChunk: number; newChunk: number }[],
  chunkSize: number,
): Buffer {
  const table = Buffer.alloc(chunkSize);
  for (const [index, { oldChunk, newChunk }] of exceptions.entries()) {
    table.writeBigUInt64LE(BigInt(oldChunk), index * EXCEPTION_LENGTH);
    table.writeBigUInt64LE(BigInt(newChunk), index * EXCEPTION_LENGTH + 8);
  }
  return table;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
