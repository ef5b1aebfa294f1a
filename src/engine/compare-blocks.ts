import type { LentBuffer } from '../bytes/byte-channel.js';
import { crc32, findDifferingRuns } from '../bytes/contents.js';
import type { Extent } from '../bytes/extent.js';
import type { Proof, Section } from '../stream/block.js';
import type { ReadBlock } from './block-reader.js';

/** A block to send, with its proof. The consumer releases the data. */
export interface OutgoingBlock extends ReadBlock {
  readonly proof: Proof | null;
  /** Set on the first part of a section. A section in which nothing differs has one part without data. */
  readonly section: Section | null;
  /** The piece of the volume that is complete with this block, or null if more parts of the piece follow. */
  readonly piece: Extent | null;
}

/** How old bytes are used, if they are available. */
export interface Comparison {
  /**
   * The unit in which old and new bytes are compared: only units that differ are sent. Null: everything is sent. Bytes,
   * a power of two.
   */
  readonly unit: number | null;
}

/**
 * Turns the new bytes of a volume into the blocks that must be sent. The old bytes come in the same pieces; there are
 * no old bytes for a tail that the base did not have. Throws what reading either throws.
 */
export async function* compareBlocks(
  news: AsyncIterable<ReadBlock>,
  olds: AsyncIterator<ReadBlock> | null,
  { unit }: Comparison,
): AsyncGenerator<OutgoingBlock> {
  for await (const block of news) {
    const { offset, data } = block;
    const piece = { offset, length: data.bytes.length };
    let parts: Outgoing;
    try {
      const old = (await olds?.next()) ?? null;
      if (old === null || old.done === true) parts = wholeOf(piece, null);
      else {
        try {
          if (old.value.offset !== offset)
            throw new Error(`old bytes at ${old.value.offset} for a block at ${offset}`);
          parts = compare(piece, old.value.data.bytes, data.bytes, { unit });
        } finally {
          old.value.data.release();
        }
      }
    } catch (error) {
      data.release();
      throw error;
    }
    yield* takeParts(parts, piece, data);
  }
}

/** What is sent of a piece. Offsets are relative to the volume. */
interface Outgoing {
  readonly proof: Proof | null;
  readonly section: Section | null;
  readonly runs: readonly Extent[];
}

function wholeOf(piece: Extent, crc: number | null): Outgoing {
  return { proof: crc === null ? null : { ...piece, crc }, section: null, runs: [piece] };
}

function compare(piece: Extent, old: Buffer, now: Buffer, { unit }: Comparison): Outgoing {
  const runs = unit === null ? [piece] : findDifferingRuns(old, now, unit, piece.offset);
  const isWhole = runs[0]?.length === piece.length;
  const oldCrc = crc32(old);
  if (isWhole) return wholeOf(piece, oldCrc);
  const newCrc = runs.length === 0 ? oldCrc : crc32(now);
  return { proof: null, section: { ...piece, oldCrc, newCrc }, runs };
}

/** The data of each run is a part of the piece's data, which is released once all of its runs are. */
function* takeParts(
  { proof, section, runs }: Outgoing,
  piece: Extent,
  data: LentBuffer,
): Generator<OutgoingBlock> {
  const { offset } = piece;
  // A section in which nothing differs must be sent, too.
  const parts = runs.length > 0 ? runs : [{ offset, length: 0 }];
  let [held, taken] = [parts.length, 0];
  const release = () => {
    held -= 1;
    if (held === 0) data.release();
  };
  try {
    for (const part of parts) {
      taken += 1;
      const isFirst = taken === 1;
      const bytes = data.bytes.subarray(part.offset - offset, part.offset - offset + part.length);
      yield {
        offset: part.offset,
        data: { bytes, release: once(release) },
        proof: isFirst ? proof : null,
        section: isFirst ? section : null,
        piece: taken === parts.length ? piece : null,
      };
    }
  } finally {
    for (; taken < parts.length; taken++) release();
  }
}

function once(release: () => void): () => void {
  let isHeld = true;
  return () => {
    if (!isHeld) return;
    isHeld = false;
    release();
  };
}
