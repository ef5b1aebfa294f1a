import type { StoredExtent } from '../archive/extent-table.js';
import { StoredBlocks } from '../archive/stored-blocks.js';
import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import { endOf, type Extent } from '../bytes/extent.js';
import { asBlock, type Block, MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { StoredBlock } from '../stream/stored/block-frames.js';
import { unpackBlock, unpackBlocks, type PackedItem } from '../stream/unpack-blocks.js';
import type { Combination } from './combination.js';

/** Files that are open at once. */
const MOST_OPEN = 32;
/** How much of a file is read at once, and read ahead, at most. Bytes. */
const WINDOW = 256 * 1024;
/** Memory for the windows of all files, unless that leaves each file less than the minimum. Bytes. */
const WINDOWS = MOST_OPEN * 2 * WINDOW;
const LEAST_WINDOW = 4096;
/** Memory for blocks that are used in parts, of all files. Bytes. */
const CUT_BLOCKS = MOST_OPEN * MAX_BLOCK_LENGTH;

/** A block, or a block that is still compressed as its archive has it. */
export type CombinedItem = Block | Extract<PackedItem, { kind: 'packed' }>;

/** The blocks to read, and their archives: ascending, without overlaps. */
export type StoredBlocksOf = Pick<Combination, 'archives' | 'extents'>;

export interface ReadOptions {
  /** Lends memory for the data; the consumer of a block releases it. A pool must have 8 MiB or more. */
  readonly lend: LendBuffer;
  /** Aborted to stop the reading, which then throws its reason. */
  readonly signal?: AbortSignal;
}

/**
 * The blocks of a combination (data, zero or discard), ascending and without overlaps, each with at most 1 MiB of
 * data; some are decompressed ahead. Checked for each: the frame's checksum, and that of the contents if compressed.
 * Files beyond the first 32 are open only while they are read; all are closed when the iterator ends, or is left
 * early.
 *
 * Throws FormatError, which names the file and the position in it, if a block is damaged; DeviceError.
 */
export async function* readCombination(plan: StoredBlocksOf, options: ReadOptions): AsyncGenerator<Block> {
  const items = unpackBlocks(readCombinedItems(plan, options), options.lend, 'archive');
  for await (const item of items) {
    const block = asBlock(item);
    if (block !== null) yield block;
  }
}

/** As `readCombination`, but whole compressed blocks stay compressed, for a caller that writes them to another file. */
export async function* readCombinedItems(
  { archives, extents }: StoredBlocksOf,
  { lend, signal }: ReadOptions,
): AsyncGenerator<CombinedItem> {
  const files = new OpenArchives(archives);
  try {
    for (const extent of extents) {
      signal?.throwIfAborted();
      const file = await files.get(extent.source);
      yield await file.read(extent, lend);
    }
  } finally {
    await files.close();
  }
}

/** One archive's blocks, whole or in parts. */
class ArchiveBlocks {
  constructor(
    private readonly path: string,
    private readonly blocks: StoredBlocks,
    private readonly cutBlocks: CutBlocks,
  ) {}

  async read(extent: StoredExtent, lend: LendBuffer): Promise<CombinedItem> {
    const { position } = extent;
    const cut = this.cutBlocks.find(this, position);
    if (cut !== null) return await partOf(cut, extent, lend);
    const block = await this.blocks.read(extent, lend);
    if (block.offset === extent.offset && block.length === extent.length) return this.whole(block, position);
    const kept = await this.keep(block, position);
    this.cutBlocks.put(this, position, kept);
    return await partOf(kept, extent, lend);
  }

  async close(): Promise<void> {
    await this.blocks.close();
  }

  private whole(block: StoredBlock, position: number): CombinedItem {
    if (block.kind !== 'data') return { kind: block.kind, offset: block.offset, length: block.length };
    const { offset, length, data, codec, crc } = block;
    if (codec === null) return { kind: 'data', offset, length, data, crc };
    return { kind: 'packed', offset, length, data, codec, position, what: this.path };
  }

  /** Copies the block into memory of its own: lent memory must come back before more is asked for. */
  private async keep(block: StoredBlock, position: number): Promise<StoredBlock> {
    if (block.kind !== 'data') return block;
    const { offset, length, codec } = block;
    if (codec === null) {
      const bytes = Buffer.from(block.data.bytes);
      block.data.release();
      return { ...block, data: { bytes, release: () => undefined } };
    }
    const packed = { kind: 'packed', offset, length, data: block.data, codec, position } as const;
    const { data, crc } = await unpackBlock(packed, ownMemory, this.path);
    return { kind: 'data', offset, length, codec: null, data, crc };
  }
}

function ownMemory(length: number): Promise<LentBuffer> {
  return Promise.resolve({ bytes: Buffer.allocUnsafeSlow(length), release: () => undefined });
}

async function partOf(block: StoredBlock, { offset, length }: Extent, lend: LendBuffer): Promise<Block> {
  if (block.kind !== 'data') return { kind: block.kind, offset, length };
  const data = await lend(length);
  block.data.bytes.copy(data.bytes, 0, offset - block.offset, endOf({ offset, length }) - block.offset);
  return { kind: 'data', offset, length, data };
}

/** For each archive the last block that was used in part, decompressed: the next part is probably from it. */
class CutBlocks {
  /** Least recently used first. */
  private readonly blocks = new Map<
    ArchiveBlocks,
    { readonly position: number; readonly block: StoredBlock }
  >();
  private bytes = 0;

  find(archive: ArchiveBlocks, position: number): StoredBlock | null {
    const found = this.blocks.get(archive);
    if (found?.position !== position) return null;
    this.blocks.delete(archive);
    this.blocks.set(archive, found);
    return found.block;
  }

  put(archive: ArchiveBlocks, position: number, block: StoredBlock): void {
    this.drop(archive);
    this.blocks.set(archive, { position, block });
    this.bytes += sizeOf(block);
    for (const oldest of this.blocks.keys()) {
      if (this.bytes <= CUT_BLOCKS) break;
      this.drop(oldest);
    }
  }

  private drop(archive: ArchiveBlocks): void {
    const found = this.blocks.get(archive);
    if (found === undefined) return;
    this.blocks.delete(archive);
    this.bytes -= sizeOf(found.block);
  }
}

/** In memory. Bytes. */
function sizeOf(block: StoredBlock): number {
  return block.kind === 'data' ? block.data.bytes.length : 0;
}

/**
 * The archives of a combination, opened when they are needed. Each keeps its windows to the end: what is read from a
 * file is read once, even if many files take turns.
 */
class OpenArchives {
  private readonly open = new Map<number, ArchiveBlocks>();
  private readonly cutBlocks = new CutBlocks();
  private readonly windowSize: number;

  constructor(private readonly archives: Combination['archives']) {
    const share = Math.floor(WINDOWS / 2 / archives.length / LEAST_WINDOW) * LEAST_WINDOW;
    this.windowSize = Math.min(WINDOW, Math.max(LEAST_WINDOW, share));
  }

  async get(source: number): Promise<ArchiveBlocks> {
    const found = this.open.get(source);
    if (found !== undefined) return found;
    const archive = this.archives[source];
    if (archive === undefined) throw new Error(`there is no archive ${source}`);
    const staysOpen = this.open.size < MOST_OPEN;
    const blocks = await StoredBlocks.open(archive, this.windowSize, staysOpen);
    const opened = new ArchiveBlocks(archive.path, blocks, this.cutBlocks);
    this.open.set(source, opened);
    return opened;
  }

  async close(): Promise<void> {
    const all = [...this.open.values()];
    this.open.clear();
    for (const archive of all) await archive.close();
  }
}
