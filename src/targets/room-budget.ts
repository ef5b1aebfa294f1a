import { UnsafeTargetError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { silentNotice } from '../host/surroundings.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { guardRoom, type RoomTarget } from './room.js';

/** How much more space to look for at first. Bytes. */
const FIRST_STEP = 1024 * 1024 * 1024;

/**
 * The space below a target. It is checked before the first write, and again if more comes than was announced: in the
 * later passes of a live origin, in the undo of such a stream, or in a stream of the Ruby tool, which announces
 * nothing.
 */
export class RoomBudget {
  private judged: number;
  /** How much to look for at once: halved if there is less. Bytes. */
  private step = FIRST_STEP;

  constructor(
    private readonly target: RoomTarget & { readonly size: number },
    private readonly header: StreamHeader | null,
    private readonly spawner: Spawner,
  ) {
    this.judged = target.number === null ? Infinity : (header?.expectedBytes ?? 0);
  }

  /** Whether the checked space is enough for this many bytes of the stream. */
  covers(total: number): boolean {
    return total <= this.judged;
  }

  /**
   * Checks for more space, once everything that came is written. Throws UnsafeTargetError, as `guardRoom`, if there is
   * not enough for the next `length` bytes.
   *
   * @param brought how many bytes of the stream are written
   */
  async extend(brought: number, length: number): Promise<void> {
    const volumeSize = this.header?.volumeSize ?? this.target.size;
    const blockSize = this.header?.blockSize ?? length;
    for (;;) {
      const bytes = Math.max(this.step, length);
      try {
        await guardRoom(
          this.target,
          { bytes, blockSize, volumeSize },
          { spawner: this.spawner, notice: silentNotice },
        );
        this.judged = brought + bytes;
        return;
      } catch (error) {
        if (bytes === length || !(error instanceof UnsafeTargetError)) throw error;
        this.step = Math.floor(bytes / 2);
      }
    }
  }
}
