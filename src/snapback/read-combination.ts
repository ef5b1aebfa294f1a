import type { LendBuffer, LentBuffer } from '../byte-channel.js';
import { endOf, type Extent } from '../extent.js';
import type { Block } from '../stream/block.js';
import { unpackBlock, unpackBlocks, type PackedItem } from '../stream/unpack-blocks.js';
import { asBlock } from '../stream/block.js';
import type { Combination } from './combination.js';
import type { StoredExtent } from './extent-table.js';
import { StoredBlocks, type StoredBlock } from './stored-blocks.js';

/** Files that are open at once, each with half a MiB of windows and perhaps a block that was cut. */
const MOST_OPEN = 32;

/** A block, or one that is still compressed as its archive keeps it. */
export type CombinedItem = Block | Extract<PackedItem, { kind: 'packed' }>;

export interface ReadOptions {
  /** Lends what data comes in; whoever takes a block releases it. A pool must have 8 MiB or more. */
  readonly lend: LendBuffer;
  /** Aborted to stop: its reason is then thrown. */
  readonly signal?: AbortSignal;
}

/**
 * The blocks of a combination (data, zero or discard), ascending and without overlaps, each at most 1 MiB of data;
 * some are decompressed ahead of whoever takes them. What was checked of each: its frame's checksum, and a compressed
 * one's own. At most 32 files are open at a time; all are closed when the iterator ends, or is left early.
 *
 * Throws FormatError, which names the file and the place in it, where a block is damaged; DeviceError.
 */
export async function* readCombination(plan: Combination, options: ReadOptions): AsyncGenerator<Block> {
  const items = unpackBlocks(readCombinedItems(plan, options), options.lend, 'archive');
  for await (const item of items) {
    const block = asBlock(item);
    if (block !== null) yield block;
  }
}

/** As `readCombination`, but whole blocks that are compressed come as they are: for whoever writes them down again. */
export async function* readCombinedItems(
  { archives, extents }: Combination,
  { lend, signal }: ReadOptions,
): AsyncGenerator<CombinedItem> {
  const files = new OpenArchives(archives.length, async (source) => {
    const archive = archives[source];
    if (archive === undefined) throw new Error(`there is no archive ${source}`);
    return new ArchiveBlocks(archive.path, await StoredBlocks.open(archive));
  });
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
  /** The last block of which a part was asked for, decompressed: the next part is likely to be of it. */
  private cut: { readonly position: number; readonly block: StoredBlock } | null = null;

  constructor(
    private readonly path: string,
    private readonly blocks: StoredBlocks,
  ) {}

  async read(extent: StoredExtent, lend: LendBuffer): Promise<CombinedItem> {
    const { position } = extent;
    if (this.cut?.position === position) return await partOf(this.cut.block, extent, lend);
    const block = await this.blocks.read(extent, lend);
    if (block.offset === extent.offset && block.length === extent.length) return this.whole(block, position);
    this.cut = { position, block: await this.keep(block, position) };
    return await partOf(this.cut.block, extent, lend);
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

  /** The block in memory of its own, as what is lent must come back before more is asked for. */
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

/** The archives that are open, the one that was used longest ago first. */
class OpenArchives {
  private readonly open = new Map<number, ArchiveBlocks>();
  private readonly most: number;

  constructor(
    count: number,
    private readonly openOne: (source: number) => Promise<ArchiveBlocks>,
  ) {
    this.most = Math.min(count, MOST_OPEN);
  }

  async get(source: number): Promise<ArchiveBlocks> {
    const { open } = this;
    const found = open.get(source);
    if (found !== undefined) {
      // Only where one may have to be closed does it matter which was used last.
      if (open.size === MOST_OPEN) {
        open.delete(source);
        open.set(source, found);
      }
      return found;
    }
    if (open.size >= this.most) {
      for (const [oldest, archive] of open) {
        open.delete(oldest);
        await archive.close();
        break;
      }
    }
    const opened = await this.openOne(source);
    open.set(source, opened);
    return opened;
  }

  async close(): Promise<void> {
    const all = [...this.open.values()];
    this.open.clear();
    for (const archive of all) await archive.close();
  }
}
