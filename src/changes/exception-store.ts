import { ChunkSet } from '../bytes/chunk-set.js';
import type { BlockDevice } from '../device/block-device.js';
import { FormatError } from '../errors.js';
import { allocateAligned, freeAligned } from '../memory/aligned-memory.js';
import { ChangeSet } from './change-set.js';
import {
  checkCowHeader,
  EXCEPTION_LENGTH,
  ExceptionBatch,
  HEADER_LENGTH,
  parseCowHeader,
  parseExceptions,
  StoreLayout,
} from './cow-format.js';

/** Tables are read in pieces of at most this many bytes, a few of them ahead. */
const PIECE_LIMIT = 256 * 1024;
const READ_AHEAD_BYTES = 1024 * 1024;
const READ_AHEAD_PIECES = 64;

/** The contents of a whole exception store. Sizes in bytes. */
export interface StoreContents {
  readonly chunkSize: number;
  /** Entries in the tables. */
  readonly exceptions: number;
  readonly changes: ChangeSet;
  /** The store's size, and how much of it is in use. */
  readonly storeSize: number;
  readonly storeUsed: number;
}

/** What is known about the volume besides its store; null if there is only a store. Bytes. */
export interface VolumeSizes {
  /** The volume's size when the snapshot was made: no exception may be past it. */
  readonly trackedSize: number | null;
  /** The volume's size now. */
  readonly volumeSize: number | null;
}

/**
 * Reads a persistent exception store as it is on the device now.
 *
 * @param most how many exceptions to read: a table only grows at its end, so its first ones are what it was earlier
 *
 * Throws SnapshotError if the store is invalid or of another kind, FormatError if its tables are damaged or cut short:
 * never returns a short list.
 */
export async function readExceptionStore(
  cow: BlockDevice,
  sizes: VolumeSizes,
  most = Infinity,
): Promise<StoreContents> {
  const { layout, batches } = await readBatches(cow, sizes.trackedSize);
  const chunks = new ChunkSet();
  let exceptions = 0;
  for await (const batch of batches) {
    const count = Math.min(batch.count, most - exceptions);
    for (let i = 0; i < count; i++) chunks.add(batch.oldChunks[i] ?? 0);
    exceptions += count;
  }
  return {
    chunkSize: layout.chunkSize,
    exceptions,
    changes: new ChangeSet({ granularity: layout.chunkSize, ...sizes }, chunks),
    storeSize: cow.size,
    storeUsed: layout.bytesUsed(exceptions),
  };
}

/**
 * Reads the header, then, on demand, the exceptions in table order, each checked against the ends of the store and of
 * the volume. A batch is reused: it is valid until the next one. Throws as `readExceptionStore`.
 */
export async function readBatches(
  cow: BlockDevice,
  trackedSize: number | null,
): Promise<{ layout: StoreLayout; batches: AsyncIterable<ExceptionBatch> }> {
  await cow.refresh();
  const layout = await readLayout(cow);
  return { layout, batches: checkBatches(cow, layout, trackedSize) };
}

async function* checkBatches(cow: BlockDevice, layout: StoreLayout, trackedSize: number | null) {
  const bounds = new ExceptionBounds(cow, layout, trackedSize);
  let exceptions = 0;
  for await (const batch of readExceptions(cow, layout)) {
    bounds.check(batch, exceptions);
    exceptions += batch.count;
    yield batch;
  }
}

/** Reads the store's header again. Throws SnapshotError if the store is not, or no longer, valid. */
export async function checkExceptionStore(cow: BlockDevice): Promise<void> {
  await cow.refresh();
  await readLayout(cow);
}

/** Reads and checks the header; its chunk size overrides that of a device-mapper table. */
async function readLayout(cow: BlockDevice): Promise<StoreLayout> {
  const bytes = Buffer.alloc(Math.min(HEADER_LENGTH, cow.size));
  await cow.readAt(bytes, 0);
  const header = parseCowHeader(bytes, cow.path);
  checkCowHeader(header, cow.path);
  return new StoreLayout(header.chunkSectors);
}

/**
 * Yields the store's exceptions in table order. The batch is reused: it is valid until the next one. The read-ahead
 * grows with the store, because the bytes after the last area are not a table.
 */
async function* readExceptions(cow: BlockDevice, layout: StoreLayout): AsyncGenerator<ExceptionBatch> {
  const pieceLength = Math.min(layout.chunkSize, PIECE_LIMIT);
  const mostPieces = Math.max(1, Math.min(READ_AHEAD_PIECES, Math.floor(READ_AHEAD_BYTES / pieceLength)));
  const window = allocateAligned(mostPieces * pieceLength);
  const batch = new ExceptionBatch((mostPieces * pieceLength) / EXCEPTION_LENGTH);
  try {
    let more = true;
    for (let piece = 0, ahead = 1; more; piece += ahead, ahead = Math.min(ahead * 2, mostPieces)) {
      const count = await readPieces(cow, layout, { piece, ahead, pieceLength }, window);
      batch.count = 0;
      for (let i = 0; i < count && more; i++) {
        more = parseExceptions(window.subarray(i * pieceLength, (i + 1) * pieceLength), batch);
      }
      yield batch;
      if (more && count < ahead) throw runsOffItsEnd(cow, layout, piece + count, pieceLength);
    }
  } finally {
    freeAligned(window);
  }
}

interface PieceRange {
  readonly piece: number;
  readonly ahead: number;
  readonly pieceLength: number;
}

/** Reads the next pieces of the tables into `window`, as many as are within the device; returns how many. */
async function readPieces(
  cow: BlockDevice,
  layout: StoreLayout,
  { piece, ahead, pieceLength }: PieceRange,
  window: Buffer,
): Promise<number> {
  const reads: Promise<void>[] = [];
  for (let i = 0; i < ahead; i++) {
    const offset = pieceOffset(layout, piece + i, pieceLength);
    if (offset + pieceLength > cow.size) break;
    reads.push(cow.readAt(window.subarray(i * pieceLength, (i + 1) * pieceLength), offset));
  }
  // Wait for all before the window may be released: after a failure no other read may still write into it.
  const results = await Promise.allSettled(reads);
  for (const result of results) {
    if (result.status === 'rejected') throw result.reason;
  }
  return reads.length;
}

function pieceOffset(layout: StoreLayout, piece: number, pieceLength: number): number {
  const piecesPerTable = layout.chunkSize / pieceLength;
  const area = Math.floor(piece / piecesPerTable);
  return layout.tableOffset(area) + (piece - area * piecesPerTable) * pieceLength;
}

function runsOffItsEnd(
  cow: BlockDevice,
  layout: StoreLayout,
  piece: number,
  pieceLength: number,
): FormatError {
  const offset = pieceOffset(layout, piece, pieceLength);
  const problem = `the store is cut short: the table does not end before the end of the device (${cow.size} bytes)`;
  return new FormatError(cow.path, offset, 'metadata area', problem);
}

/** Checks each exception against the ends of the store and of the volume. */
class ExceptionBounds {
  private readonly storeChunks: number;
  private readonly volumeChunks: number;

  constructor(
    private readonly cow: BlockDevice,
    private readonly layout: StoreLayout,
    private readonly trackedSize: number | null,
  ) {
    this.storeChunks = Math.floor(cow.size / layout.chunkSize);
    this.volumeChunks = Math.ceil((trackedSize ?? Number.MAX_SAFE_INTEGER) / layout.chunkSize);
  }

  check(batch: ExceptionBatch, firstIndex: number): void {
    for (let i = 0; i < batch.count; i++) {
      const oldChunk = batch.oldChunks[i] ?? 0;
      const newChunk = batch.newChunks[i] ?? 0;
      if (oldChunk >= this.volumeChunks) this.fail(firstIndex + i, this.pastVolume(oldChunk));
      if (newChunk >= this.storeChunks) {
        this.fail(
          firstIndex + i,
          `new chunk ${newChunk} is past the store's ${this.storeChunks}: the store is cut short`,
        );
      }
      if (!this.layout.isDataChunk(newChunk))
        this.fail(firstIndex + i, `new chunk ${newChunk} is a metadata chunk`);
    }
  }

  private pastVolume(oldChunk: number): string {
    const end =
      this.trackedSize === null
        ? 'the largest possible volume'
        : `the volume's end (${this.trackedSize} bytes)`;
    return `old chunk ${oldChunk} is past ${end}`;
  }

  private fail(index: number, problem: string): never {
    const area = Math.floor(index / this.layout.areaEntries);
    const entry = index - area * this.layout.areaEntries;
    const offset = this.layout.tableOffset(area) + entry * EXCEPTION_LENGTH;
    throw new FormatError(this.cow.path, offset, 'exception', problem);
  }
}
