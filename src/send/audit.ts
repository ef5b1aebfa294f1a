import { crc32 } from '../bytes/contents.js';
import { splitExtents, subtractExtents, sumLengths, type Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import { readBlocks } from '../engine/block-reader.js';
import { readOutgoing } from '../engine/outgoing-batches.js';
import { BlockBatch } from '../stream/batches/batch.js';
import type { StreamWriter } from '../stream/block-writer.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { SendSurroundings } from './begin-stream.js';
import type { WantLine } from './send-blocks.js';
import { WantedPieces } from './wanted-pieces.js';

/** A line to a receiver that compares what did not change with its target. */
export interface AuditLine extends WantLine {
  /** Tells the receiver that the pass that has just begun audits this extent. */
  audit(extent: Extent): Promise<void>;
}

/** What differed, and was sent in full. */
export interface Mended {
  readonly blocks: number;
  readonly bytes: number;
}

/** What to audit. */
export interface AuditPlan {
  /** The volume to read unchanged bytes from, as they were at the base, whatever happens to the origin now. */
  readonly unchanged: ReadableVolume;
  /** All changes that were sent. */
  readonly changes: ChangeSet;
  readonly extent: Extent;
}

/**
 * The next stretch of a volume in a round of audits. Its length is a share of the whole volume, changes included, so
 * that the number of runs in a round is known: 20 for 5 percent. 100 percent is the whole volume, wherever the last
 * stretch ended.
 *
 * @param from where the last stretch ended, as the receiver reports it; bytes
 */
export function nextStretch(from: number, percent: number, volumeSize: number): Extent {
  const piece = MAX_BLOCK_LENGTH;
  const length = Math.ceil((volumeSize * percent) / 100 / piece) * piece;
  if (length >= volumeSize) return { offset: 0, length: volumeSize };
  const offset = from < volumeSize ? from - (from % piece) : 0;
  return { offset, length: Math.min(length, volumeSize - offset) };
}

/**
 * Sends proofs of what did not change in a stretch, piece by piece, and then the pieces that differ at the receiver, in
 * full. Throws DeviceError, FormatError, what the writer throws.
 */
export async function audit(
  { unchanged, changes, extent }: AuditPlan,
  writer: StreamWriter,
  line: AuditLine,
  env: SendSurroundings,
): Promise<Mended> {
  const extents = () => subtractExtents([extent], changes.extents());
  const wanted = new WantedPieces();
  line.listen(wanted);
  await writer.nextPass();
  await line.audit(extent);
  env.progress.start(sumLengths(extents()));
  let pieces = 0;
  for await (const { offset, data } of readBlocks(unchanged, extents(), MAX_BLOCK_LENGTH, env.lend)) {
    const section = new BlockBatch();
    try {
      env.signal.throwIfAborted();
      const { length } = data.bytes;
      const crc = crc32(data.bytes);
      wanted.offer(pieces);
      pieces += 1;
      section.add({ kind: 'section', offset, length, crc, newCrc: crc });
      await writer.batch(section);
      env.progress.advance(length);
    } finally {
      data.release();
      section.release();
    }
  }
  if (pieces > 0) await line.hearAll();
  wanted.settle(splitExtents(extents(), MAX_BLOCK_LENGTH), line.host);
  return wanted.isEmpty ? { blocks: 0, bytes: 0 } : await mend(unchanged, wanted, writer, env);
}

/** Sends each piece after a proof that fails at the receiver, so that the receiver counts the piece as different. */
async function mend(
  unchanged: ReadableVolume,
  wanted: WantedPieces,
  writer: StreamWriter,
  env: SendSurroundings,
): Promise<Mended> {
  let [blocks, sent] = [0, 0];
  await writer.nextPass();
  const extents = { data: wanted.extents(), old: wanted.extents(), discards: [] };
  const volumes = { news: unchanged, olds: unchanged, unit: null };
  for await (const { batch } of readOutgoing(extents, volumes, env.lend)) {
    try {
      env.signal.throwIfAborted();
      const sum = batch.sum();
      await writer.batch(batch);
      blocks += sum.blocks;
      sent += sum.bytes;
    } finally {
      batch.release();
    }
  }
  return { blocks, bytes: sent };
}
