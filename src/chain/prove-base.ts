import { crc32 } from '../bytes/contents.js';
import type { Archive, ArchiveFacts } from '../archive/archive.js';
import type { ExtentTable } from '../archive/extent-table.js';
import { Layers } from '../archive/layers.js';
import { ArchiveProofs } from '../archive/proofs.js';
import { endOf, type Extent } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { BufferPool } from '../memory/aligned-memory.js';
import type { Block } from '../stream/block.js';
import type { BaseProof } from '../targets/base-check.js';
import { readCombination, type StoredBlocksOf } from './read-combination.js';

/** What the blocks of earlier archives may take. Bytes. */
const MEMORY = 8 * 1024 * 1024;

const PROVED: BaseProof = { is: 'proved' };

/**
 * Compares everything that undos would overwrite, in the order in which they are applied, with what each of them says
 * about its base: the target's bytes for the first; for each later one, those bytes as the ones before it would leave
 * them. Reads all of each undo, those places of the target, and of the earlier archives only the blocks that are
 * visible there. Throws what reading either throws, the signal's reason.
 *
 * @param archives opened one after another, as all their indexes at once would take much memory
 */
export async function proveBase(
  target: BlockDevice,
  archives: AsyncIterable<Archive> | Iterable<Archive>,
  signal: AbortSignal,
): Promise<BaseProof> {
  const before: ArchiveFacts[] = [];
  const layers = new Layers();
  for await (const { extents, ...archive } of archives) {
    const said = await ArchiveProofs.read(archive);
    const offset = findUnproved(extents, said);
    if (offset !== null) return { is: 'unproved', offset };
    const bytes = new BytesAfter(target, { archives: before, extents: layers.seenIn(said) }, signal);
    try {
      for (const proof of said) {
        signal.throwIfAborted();
        const isHere = endOf(proof) <= target.size && crc32(await bytes.read(proof)) === proof.crc;
        if (!isHere) return { is: 'differs', offset: proof.offset };
      }
    } finally {
      await bytes.close();
    }
    before.push(archive);
    layers.add(extents);
  }
  return PROVED;
}

/** Archives that are opened when their turn comes. */
export async function* openEach<T>(
  each: Iterable<T>,
  open: (one: T) => Promise<Archive>,
): AsyncGenerator<Archive> {
  for (const one of each) yield await open(one);
}

/** The first byte that is overwritten without a proof; null: all of them have one. */
function findUnproved(extents: ExtentTable, proofs: ArchiveProofs): number | null {
  const said = proofs[Symbol.iterator]();
  let proof = said.next();
  for (const extent of extents) {
    let offset = extent.offset;
    while (offset < endOf(extent)) {
      while (proof.done !== true && endOf(proof.value) <= offset) proof = said.next();
      if (proof.done === true || proof.value.offset > offset) return offset;
      offset = endOf(proof.value);
    }
  }
  return null;
}

/** What some extents of a target would hold once archives were applied to it. */
class BytesAfter {
  private readonly blocks: AsyncGenerator<Block>;
  /** The piece that was read last and that no extent has taken yet; undefined before the first. */
  private next: Block | null | undefined;

  /** @param seen of the archives, within those extents */
  constructor(
    private readonly target: BlockDevice,
    seen: StoredBlocksOf,
    signal: AbortSignal,
  ) {
    this.blocks = readCombination(seen, { lend: new BufferPool(MEMORY).lend, signal });
  }

  /** Reads the next of the extents. */
  async read(wanted: Extent): Promise<Buffer> {
    const bytes = Buffer.alloc(wanted.length);
    await this.target.readAt(bytes, wanted.offset);
    if (this.next === undefined) await this.move();
    for (let block = this.next; block && block.offset < endOf(wanted); block = await this.move()) {
      const at = block.offset - wanted.offset;
      if (block.kind === 'data') block.data.bytes.copy(bytes, at);
      else bytes.fill(0, at, at + block.length);
    }
    return bytes;
  }

  async close(): Promise<void> {
    if (this.next?.kind === 'data') this.next.data.release();
    await this.blocks.return(undefined);
  }

  private async move(): Promise<Block | null> {
    if (this.next?.kind === 'data') this.next.data.release();
    this.next = null;
    const moved = await this.blocks.next();
    this.next = moved.done === true ? null : moved.value;
    return this.next;
  }
}
