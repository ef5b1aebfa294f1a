import { UnsafeTargetError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { silentNotice } from '../host/surroundings.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { guardRoom, type RoomTarget } from './room.js';

/** For how much more room is looked at first. Bytes. */
const FIRST_STEP = 1024 * 1024 * 1024;

/**
 * The room below a target that was judged before the first write, and more of it where more comes than was announced: a
 * live origin's later passes, the undo of such a stream, a stream of the Ruby tool, which announces nothing.
 */
export class RoomBudget {
  private judged: number;
  /** For how much is looked at once: less and less where there is less. Bytes. */
  private step = FIRST_STEP;

  constructor(
    private readonly target: RoomTarget & { readonly size: number },
    private readonly header: StreamHeader | null,
    private readonly spawner: Spawner,
  ) {
    this.judged = target.number === null ? Infinity : (header?.expectedBytes ?? 0);
  }

  /** Whether there is room for so many bytes of the stream. */
  covers(total: number): boolean {
    return total <= this.judged;
  }

  /**
   * Looks for room for what comes, once all that came is written. Throws UnsafeTargetError, as `guardRoom`, where there
   * is none for the next `length` bytes.
   *
   * @param brought bytes of the stream that are written
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
