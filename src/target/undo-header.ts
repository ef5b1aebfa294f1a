import type { BlockDevice } from '../device/block-device.js';
import { MAX_BLOCK_LENGTH } from '../stream/frame-format.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { formerName } from './apply-states.js';
import type { TargetState } from './state-record.js';

/**
 * The header of the undo of an apply: the way back from what was applied, to what the record says was there `before`.
 *
 * @param mark of a state without a name that it leads back from
 */
export function undoHeader(
  applied: StreamHeader | null,
  before: TargetState | null,
  target: BlockDevice,
  writer: Pick<StreamHeader, 'host' | 'time' | 'writer'>,
  mark: string | null = null,
): StreamHeader {
  return {
    kind: 'undo',
    volumeSize: applied?.volumeSize ?? target.size,
    // A PROTO[3] stream promises no alignment: whole pages are saved around its blocks.
    blockSize: applied === null ? 4096 : undoUnitOf(applied),
    base: applied?.result ?? null,
    result: formerName(applied, before),
    expectedBytes: applied?.expectedBytes ?? 0,
    ...(mark === null ? {} : { mark }),
    names: { source: target.path },
    ...writer,
  };
}

/** What is saved as a whole: the parts of sections are smaller than what the changes are tracked in. Bytes. */
export function undoUnitOf({ unit, blockSize }: Pick<StreamHeader, 'unit' | 'blockSize'>): number {
  return Math.min(unit ?? blockSize, blockSize, MAX_BLOCK_LENGTH);
}
