import { packBlocks, type Packing } from '../archive/pack-archive.js';
import type { ArchiveProofs } from '../archive/proofs.js';
import { crc32, isZero } from '../bytes/contents.js';
import { endOf, type Extent, SECTOR } from '../bytes/extent.js';
import { CODEC_IDS } from '../codec/codec.js';
import { UsageError } from '../errors.js';
import type { Maker, Surroundings } from '../host/surroundings.js';
import type { Proof } from '../stream/block.js';
import type { FrameWriter } from '../stream/frame-writer.js';
import type { StreamHeader } from '../stream/stream-header.js';
import type { Combination } from './combination.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { COMBINE_MEMORY } from '../memory/budgets.js';
import { readCombination, readCombinedItems, type CombinedItem } from './read-combination.js';

/**
 * The header of a combination as an archive. The time of an undo is when the volume came into its base state, as in
 * the first archive; the time of changes is that of the last archive.
 */
export function headerOfCombination(plan: Combination, maker: Maker): StreamHeader {
  const { archives, kind, volumeSize, blockSize, base, result, mark, bytes } = plan;
  const of = (kind === 'undo' ? archives[0] : archives.at(-1))?.header;
  return {
    ...{ kind, volumeSize, blockSize, base, result, expectedBytes: bytes },
    ...(mark === undefined ? {} : { mark }),
    names: of?.names ?? {},
    ...maker,
    time: of?.time ?? maker.time,
  };
}

/**
 * A stream consists of whole sectors up to the volume's very end. If an image file once ended within a sector, and is
 * larger in another archive, no stream can express that. Throws UsageError, which names the archive.
 */
export function refuseTornSectors({ archives, extents, volumeSize }: Combination): void {
  for (const extent of extents) {
    const end = endOf(extent);
    if (end % SECTOR === 0 || end === volumeSize) continue;
    const torn = archives.find((archive) => archive.volumeSize === end);
    throw new UsageError(
      `${torn?.path ?? 'an archive'}: its volume of ${end} bytes ends within a sector, but another archive's has ` +
        `${volumeSize}: these archives cannot be combined; apply them one by one`,
    );
  }
}

/** A combination to be written, with what is to be kept of what its archives say about its base. */
export interface ProvedCombination {
  readonly plan: Combination;
  /** Null to keep none. */
  readonly proofs: ArchiveProofs | null;
}

/**
 * Writes the blocks of a combination. Compressed blocks stay as they are, unless a packing is given: then all are
 * compressed again.
 */
export async function writeCombination(
  { plan, proofs }: ProvedCombination,
  writer: FrameWriter,
  packing: Packing | null,
  { signal, progress }: Pick<Surroundings, 'signal' | 'progress'>,
): Promise<void> {
  const options = { lend: new BufferPool(COMBINE_MEMORY).lend, signal };
  const kept = new KeptProofs(proofs, writer);
  if (packing === null) {
    for await (const item of readCombinedItems(plan, options)) {
      await kept.writeUpTo(item);
      await writeItem(item, writer);
      progress.advance(item.length);
    }
    return;
  }
  for await (const block of packBlocks(readCombination(plan, options), packing)) {
    await kept.writeUpTo(block);
    await block.write(writer);
    progress.advance(block.length);
  }
}

async function writeItem(item: CombinedItem, writer: FrameWriter): Promise<void> {
  const { offset, length } = item;
  if (item.kind === 'zero' || item.kind === 'discard') {
    await writer[item.kind](offset, length);
    return;
  }
  try {
    const { bytes } = item.data;
    if (item.kind === 'packed') await writer.stored(offset, length, CODEC_IDS[item.codec], bytes);
    else if (isZero(bytes)) await writer.zero(offset, length);
    else await writer.data(offset, bytes, { crc: item.crc ?? crc32(bytes) });
  } finally {
    item.data.release();
  }
}

/** Writes proofs between the blocks, in ascending order: the proof of a block comes right before it. */
class KeptProofs {
  private readonly proofs: Iterator<Proof, undefined> | null;
  private next: Proof | undefined;

  constructor(
    private readonly all: ArchiveProofs | null,
    private readonly writer: FrameWriter,
  ) {
    this.proofs = all === null ? null : all[Symbol.iterator]();
    this.next = this.proofs?.next().value;
  }

  /** Writes the proofs of all extents that begin before the block's end. */
  async writeUpTo(block: Extent): Promise<void> {
    for (
      ;
      this.next !== undefined && this.next.offset < endOf(block);
      this.next = this.proofs?.next().value
    ) {
      await this.writer.prove(this.next);
    }
    // A block that several proofs cover gets one more for the whole block, which the apply checks.
    const own = this.all?.of(block);
    if (own !== null && own !== undefined) await this.writer.prove(own);
  }
}
