import { crc32 } from 'node:zlib';
import type { Archive } from '../archive/archive.js';
import type { ExtentTable } from '../archive/extent-table.js';
import { ArchiveProofs } from '../archive/proofs.js';
import { endOf, type Extent } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { BufferPool } from '../memory/aligned-memory.js';
import type { BaseProof } from '../targets/base-check.js';
import { planCombination } from './combination.js';
import { readCombination } from './read-combination.js';

/** What the blocks of earlier archives may take. Bytes. */
const MEMORY = 8 * 1024 * 1024;

const PROVED: BaseProof = { is: 'proved' };

/**
 * Holds all that undos would overwrite, in the order in which they are applied, against what each says of its base:
 * the target's bytes for the first, for each other one what those before it would make of them. Reads all of them, and
 * all those places of the target. Throws what reading either throws, the signal's reason.
 *
 * @param proofs those of each archive, where they were read already
 */
export async function proveBase(
  target: BlockDevice,
  archives: readonly Archive[],
  signal: AbortSignal,
  proofs: readonly ArchiveProofs[] = [],
): Promise<BaseProof> {
  for (const [index, archive] of archives.entries()) {
    const said = proofs[index] ?? (await ArchiveProofs.read(archive));
    const offset = findUnproved(archive.extents, said);
    if (offset !== null) return { is: 'unproved', offset };
    const before = new BytesAfter(target, archives.slice(0, index), signal);
    try {
      for (const proof of said) {
        signal.throwIfAborted();
        const isHere = endOf(proof) <= target.size && crc32(await before.read(proof)) === proof.crc;
        if (!isHere) return { is: 'differs', offset: proof.offset };
      }
    } finally {
      await before.close();
    }
  }
  return PROVED;
}

/** The first byte that is overwritten and of which nothing is said; null where there is none. */
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

/** What a target would hold once archives were applied to it, in ascending order. */
class BytesAfter {
  private readonly blocks: ReturnType<typeof readCombination> | null;
  /** Blocks that reach into what was read last, or lie behind it. */
  private held: { readonly extent: Extent; readonly bytes: Buffer | null }[] = [];

  constructor(
    private readonly target: BlockDevice,
    archives: readonly Archive[],
    signal: AbortSignal,
  ) {
    const { lend } = new BufferPool(MEMORY);
    const plan = archives.length === 0 ? null : planCombination(archives, { forceBase: true });
    this.blocks = plan === null ? null : readCombination(plan, { lend, signal });
  }

  /** Reads an extent that begins behind the last one. */
  async read(wanted: Extent): Promise<Buffer> {
    const bytes = Buffer.alloc(wanted.length);
    await this.target.readAt(bytes, wanted.offset);
    this.held = this.held.filter(({ extent }) => endOf(extent) > wanted.offset);
    while ((this.held.at(-1)?.extent.offset ?? -1) < endOf(wanted)) if (!(await this.holdNext())) break;
    for (const { extent, bytes: from } of this.held) {
      const start = Math.max(extent.offset, wanted.offset);
      const end = Math.min(endOf(extent), endOf(wanted));
      if (start >= end) continue;
      const into = bytes.subarray(start - wanted.offset, end - wanted.offset);
      if (from === null) into.fill(0);
      else from.copy(into, 0, start - extent.offset, end - extent.offset);
    }
    return bytes;
  }

  async close(): Promise<void> {
    await this.blocks?.return(undefined);
  }

  private async holdNext(): Promise<boolean> {
    const next = (await this.blocks?.next()) ?? null;
    if (next === null || next.done === true) return false;
    const { value: block } = next;
    const { offset, length } = block;
    const bytes = block.kind === 'data' ? Buffer.from(block.data.bytes) : null;
    if (block.kind === 'data') block.data.release();
    this.held.push({ extent: { offset, length }, bytes });
    return true;
  }
}
