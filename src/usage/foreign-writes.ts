import { readFile } from 'node:fs/promises';
import { SECTOR } from '../bytes/extent.js';
import type { DeviceNumber } from '../device/device-facts.js';
import { readAttribute } from './device-tree.js';

/** What the kernel has counted for a device since it was created. Bytes. */
interface Counted {
  readonly written: number;
  readonly discarded: number;
}

/** A device that we write to. */
interface WrittenDevice {
  readonly number: DeviceNumber | null;
  readonly direct: boolean;
  readonly ownWrites: Readonly<Counted>;
}

/** Finds out whether others wrote to a device while we did: by what the kernel counted and we did not write. */
export class ForeignWrites {
  private constructor(
    private readonly number: DeviceNumber,
    private readonly own: Readonly<Counted>,
    private readonly before: Counted,
  ) {}

  /**
   * Begins to watch; null: the kernel's counts cannot be compared with ours. If the kernel is set not to count, nothing
   * is ever found.
   */
  static async watch({ number, direct, ownWrites }: WrittenDevice): Promise<ForeignWrites | null> {
    // The page cache writes whole pages, once or several times.
    if (number === null || !direct) return null;
    // An MD array may count a request twice if it splits it.
    if ((await readAttribute(`/sys/dev/block/${number}/md/level`)) !== null) return null;
    const counted = await readCounts(number);
    if (counted === null) return null;
    const { written, discarded } = ownWrites;
    const before = { written: counted.written - written, discarded: counted.discarded - discarded };
    return new ForeignWrites(number, ownWrites, before);
  }

  /** What others wrote so far, in words after "it is"; null: nothing that we know of. */
  async find(): Promise<string | null> {
    const now = await readCounts(this.number);
    if (now === null) return null;
    const { own, before } = this;
    const written = now.written - before.written - own.written;
    const discarded = now.discarded - before.discarded - own.discarded;
    if (written <= 0 && discarded <= 0) return null;
    const bytes = Math.max(written, 0) + Math.max(discarded, 0);
    return `also written to by another program, which has ended (${bytes} bytes, by the kernel's count)`;
  }
}

/** Fields 7 and 14 of a device's `stat`, in sectors of 512 bytes. Field 14 exists since Linux 4.18. */
async function readCounts(number: DeviceNumber): Promise<Counted | null> {
  const text = await readFile(`/sys/dev/block/${number}/stat`, 'latin1').catch(() => '');
  const fields = text.trim().split(/\s+/).map(Number);
  const [written, discarded = 0] = [fields[6], fields[13]];
  return written === undefined ? null : { written: written * SECTOR, discarded: discarded * SECTOR };
}
