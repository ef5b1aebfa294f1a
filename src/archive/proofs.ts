import { crc32, joinChecksums } from '../bytes/contents.js';
import { endOf, type Extent } from '../bytes/extent.js';
import { ExtentOrder } from '../stream/extent-order.js';
import { MAX_BLOCK_LENGTH, type Proof } from '../stream/block.js';
import { ANNOUNCEMENT, parseAnnouncements } from '../stream/frame-format.js';
import { withFile, withoutOverlaps, type Archive } from './archive.js';
import { ExtentTable, type StoredExtent } from './extent-table.js';
import { scanArchive } from './scan-archive.js';

const zeroes = Buffer.alloc(MAX_BLOCK_LENGTH);

/**
 * What an archive says about the state that it starts from: checksums of extents. A snapback that a receiver made has
 * them for the blocks that were written; other archives have proof frames.
 */
export class ArchiveProofs {
  private constructor(
    /** Ascending rows as `saying` makes them. */
    private readonly table: ExtentTable,
  ) {}

  /**
   * Reads and checks a whole archive, and gathers its proofs. Throws TruncatedStreamError, FormatError, DeviceError.
   */
  static async read({ path, volumeSize }: Pick<Archive, 'path' | 'volumeSize'>): Promise<ArchiveProofs> {
    const said = new ExtentTable();
    const order = new ExtentOrder(volumeSize);
    const add = ({ offset, length, crc }: Proof) => {
      // Data from the Ruby tool's format may be at any offset, and cannot be kept as a proof.
      if (length <= MAX_BLOCK_LENGTH && order.findMisfit(offset, length) === null) {
        said.add(saying({ offset, length, crc }));
      }
    };
    await withFile(path, (random) =>
      scanArchive(random, {
        proof: add,
        skipped: ({ header, payload, position }) => {
          if (header.type !== ANNOUNCEMENT) return;
          for (const write of parseAnnouncements(payload, path, position)) {
            const crc = write.zeroes ? crc32(zeroes.subarray(0, write.length)) : write.crc;
            add({ offset: write.offset, length: write.length, crc });
          }
        },
      }),
    );
    // The latest checksum of an extent counts; the rest of an earlier extent that was partly replaced proves nothing.
    return new ArchiveProofs(withoutOverlaps(said, false, (_layer, source) => source));
  }

  /** The first checksum of an extent counts; a later one that overlaps it is dropped. */
  static joined(said: ExtentTable): ArchiveProofs {
    return new ArchiveProofs(withoutOverlaps(said, true, (_layer, source) => source));
  }

  /** The proof of exactly this extent, which may be joined from adjacent proofs; null if there is no proof. */
  of({ offset, length }: Extent): Proof | null {
    const end = offset + length;
    let crc = 0;
    let at = offset;
    for (let index = this.firstEndingBehind(offset); at < end; index++) {
      const proof = this.at(index);
      if (proof?.offset !== at || endOf(proof) > end) return null;
      crc = at === offset ? proof.crc : joinChecksums(crc, proof.crc, proof.length);
      at = endOf(proof);
    }
    return { offset, length, crc };
  }

  /** All of them, ascending. */
  *[Symbol.iterator](): Generator<Proof> {
    for (let index = 0; index < this.table.count; index++) {
      const proof = this.at(index);
      if (proof !== null) yield proof;
    }
  }

  private at(index: number): Proof | null {
    if (index >= this.table.count) return null;
    const { offset, length, position: crc, blockOffset, source } = this.table.at(index);
    return offset === blockOffset && length === source ? { offset, length, crc } : null;
  }

  private firstEndingBehind(offset: number): number {
    return firstEndingBehind(this.table, offset);
  }
}

/**
 * What archives that are applied one after another say about the state before the first of them. A proof counts only
 * if no earlier archive changes its extent.
 */
export class JoinedProofs {
  private readonly said = new ExtentTable();

  /** @param isChanged whether an earlier archive changes part of an extent */
  add(proofs: ArchiveProofs, isChanged: (extent: Extent) => boolean): void {
    for (const { offset, length, crc } of proofs) {
      if (!isChanged({ offset, length })) this.said.add(saying({ offset, length, crc }));
    }
  }

  join(): ArchiveProofs {
    return ArchiveProofs.joined(this.said);
  }
}

/** A proof as a row of a table: `position` is the checksum, `source` the length that it is of. */
function saying({ offset, length, crc }: Proof): StoredExtent {
  return { offset, length, position: crc, blockOffset: offset, source: length };
}

/** The index of a table's first extent that ends behind an offset; the count if there is no such extent. */
export function firstEndingBehind(table: ExtentTable, offset: number): number {
  let low = 0;
  let high = table.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (table.endAt(middle) > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Whether any extent of a table lies in this one. */
export function touches(table: ExtentTable, extent: Extent): boolean {
  return table.offsetAt(firstEndingBehind(table, extent.offset)) < endOf(extent);
}
