import type { FileHandle } from 'node:fs/promises';
import { crc32 } from '../bytes/contents.js';
import { endOf, type Extent } from '../bytes/extent.js';
import { DeviceError, LostJournalError } from '../errors.js';
import type { SavedExtent } from './journal-reader.js';

/** The old bytes of a log, by extent of the volume. */
export class OldBytes {
  private readonly sorted: readonly SavedExtent[];
  /** The extent that was read last: the next request is often for a part of it. */
  private last: { readonly saved: SavedExtent; readonly bytes: Promise<Buffer> } | null = null;

  constructor(
    private readonly file: FileHandle,
    private readonly path: string,
    saved: readonly SavedExtent[],
  ) {
    this.sorted = [...saved].sort((a, b) => a.offset - b.offset);
  }

  /**
   * Reads what the volume held in an extent. Throws LostJournalError if the log does not hold all of it, or has changed
   * since it was read; DeviceError.
   */
  async read(extent: Extent): Promise<Buffer> {
    const bytes = Buffer.alloc(extent.length);
    for (let offset = extent.offset; offset < endOf(extent);) {
      const saved = this.find(offset);
      if (saved === null)
        throw new LostJournalError(this.path, 0, `the old bytes of byte ${offset} are missing`);
      const length = Math.min(endOf(saved), endOf(extent)) - offset;
      if (saved.position !== null) {
        const from = offset - saved.offset;
        const whole = await this.bytesOf(saved, saved.position);
        whole.copy(bytes, offset - extent.offset, from, from + length);
      }
      offset += length;
    }
    return bytes;
  }

  private bytesOf(saved: SavedExtent, position: number): Promise<Buffer> {
    if (this.last?.saved !== saved) this.last = { saved, bytes: this.readAgain(saved, position) };
    return this.last.bytes;
  }

  private async readAgain({ length, crc, framePosition }: SavedExtent, position: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await this.file.read(bytes, 0, length, position).catch((error: unknown) => {
      throw new DeviceError(this.path, 'read', position, error);
    });
    if (bytesRead < length || crc32(bytes) !== crc)
      throw new LostJournalError(this.path, framePosition, 'it changed while it was read');
    return bytes;
  }

  private find(offset: number): SavedExtent | null {
    let low = 0;
    let high = this.sorted.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const saved = this.sorted[middle];
      if (saved === undefined) break;
      if (endOf(saved) <= offset) low = middle + 1;
      else if (saved.offset > offset) high = middle - 1;
      else return saved;
    }
    return null;
  }
}
