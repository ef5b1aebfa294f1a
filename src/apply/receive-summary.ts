import type { IncomingStream } from '../stream/incoming-stream.js';
import type { Verified } from '../targets/coverage.js';

/** What a stream did to a target. Sizes in bytes. */
export interface ReceiveSummary {
  readonly protocol: 3 | 4;
  /** What the stream's header expected; null: it has no header. */
  readonly expectedBytes: number | null;
  /** What came as data, zeroes or discards. */
  readonly changedBytes: number;
  readonly blocks: number;
  /**
   * How many blocks of the target unexpectedly held neither the old nor the new bytes. They are right now, because such
   * blocks are sent in full.
   */
  readonly mismatches: number;
  /**
   * Why the rest of the target is in doubt: bytes were found that contradict what was known about it. Null: no doubt.
   */
  readonly suspect: string | null;
  /** How much of the target is proved, and since when. */
  readonly verified: Verified;
  readonly targetSize: number;
  /** From the stream's header; null: it has no header. */
  readonly volumeSize: number | null;
}

/** The summary of a stream, with what was found while it was applied. */
export function summaryOf(
  { protocol, header }: IncomingStream,
  {
    blocks,
    mismatches,
    suspect,
    verified,
  }: Pick<ReceiveSummary, 'blocks' | 'mismatches' | 'suspect' | 'verified'>,
  changedBytes: number,
  targetSize: number,
): ReceiveSummary {
  return {
    protocol,
    expectedBytes: header?.expectedBytes ?? null,
    changedBytes,
    blocks,
    mismatches,
    suspect,
    verified,
    targetSize,
    volumeSize: header?.volumeSize ?? null,
  };
}
