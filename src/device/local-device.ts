import { readlink, stat, type FileHandle } from 'node:fs/promises';
import { endOf, type Extent } from '../bytes/extent.js';
import { CommandError, DeviceError, UnsafeTargetError } from '../errors.js';
import { tryToKeepQemuOut } from '../host/file-locks.js';
import type { Spawner } from '../host/spawner.js';
import { tryToLock } from '../host/system-calls.js';
import { allocateAligned, freeAligned, isAligned, roundDown, roundUp } from '../memory/aligned-memory.js';
import { dataExtentsOf, deallocate, zeroLeftOvers, OwnWrites } from './allocation.js';
import type { BlockDevice } from './block-device.js';
import { deviceNumberOf, readDeviceFacts, type DeviceNumber } from './device-facts.js';
import { refuseReadOnly, openHandle } from './open-handle.js';
import { Transfers } from './transfers.js';

/** The alignment of a file's direct I/O: no common disk has larger sectors. Bytes. */
const FILE_ALIGNMENT = 4096;
const BOUNCE_LIMIT = 1024 * 1024;

/** `direct` bypasses the page cache, `buffered` uses it; `auto` is direct for block devices that allow it. */
export type IoMode = 'auto' | 'direct' | 'buffered';

export interface OpenOptions {
  /** Open for writing too. A block device is then opened exclusively, so a mounted one is refused. */
  readonly writable?: boolean;
  /** False for a file that we made, so that a link that replaced it is refused. */
  readonly followLinks?: false;
  readonly io?: IoMode;
  /** Limits the size to this many bytes. */
  readonly most?: number;
  /** The unit in which discarded parts of a block device read as zeroes, in bytes; null: they may not. */
  readonly discardUnitOf?: (number: DeviceNumber) => Promise<number | null>;
  /** Runs `blockdev --flushbufs` if a block device does not allow direct I/O. */
  readonly spawner: Spawner;
}

/**
 * Opens a block device or an image file in place: never created, never truncated, never extended. Throws DeviceError;
 * UnsafeTargetError if it is opened for writing and is in use, or is neither device nor file.
 */
export async function openLocalDevice(path: string, options: OpenOptions): Promise<LocalDevice> {
  const stats = await attempt(path, 'stat', () => stat(path));
  if (!stats.isBlockDevice() && !stats.isFile()) {
    const problem = 'neither a block device nor a regular file';
    if (options.writable === true) throw new UnsafeTargetError(path, problem);
    throw new DeviceError(path, 'open', null, problem);
  }
  const { writable = false, followLinks = true, io = 'auto' } = options;
  if (writable) await refuseReadOnly(path, stats);
  const mustBeDirect = io === 'direct';
  const direct = mustBeDirect || (io === 'auto' && stats.isBlockDevice());
  const handle = await openHandle(path, stats, direct, { writable, followLinks, mustBeDirect });
  try {
    return await describe(path, handle.file, handle.direct, options);
  } catch (error) {
    await handle.file.close();
    throw error;
  }
}

async function describe(path: string, file: FileHandle, direct: boolean, options: OpenOptions) {
  const { spawner, discardUnitOf, most = Infinity } = options;
  // Stats the open descriptor, not the name: the name may point elsewhere by now.
  const stats = await attempt(path, 'stat', () => file.stat());
  if (stats.isFile()) {
    return new LocalDevice(path, file, {
      ...{
        size: Math.min(stats.size, most),
        alignment: FILE_ALIGNMENT,
        direct,
        number: null,
        takesHoles: true,
        discardUnit: null,
        spawner,
      },
    });
  }
  const number = deviceNumberOf(stats);
  const facts = await readDeviceFacts(number);
  return new LocalDevice(path, file, {
    size: Math.min(facts.size, most),
    alignment: facts.logicalBlockSize,
    direct,
    number,
    takesHoles: facts.takesHoles,
    discardUnit: (await discardUnitOf?.(number)) ?? null,
    spawner,
  });
}

interface LocalFacts {
  readonly size: number;
  readonly alignment: number;
  readonly direct: boolean;
  readonly number: DeviceNumber | null;
  readonly takesHoles: boolean;
  readonly discardUnit: number | null;
  readonly spawner: Spawner;
}

/** A block device or an image file of this host. */
export class LocalDevice implements BlockDevice {
  readonly size: number;
  /** The device's number; null: an image file. */
  readonly number: DeviceNumber | null;
  /** Whether I/O bypasses the page cache. */
  readonly direct: boolean;
  readonly ownWrites = new OwnWrites();
  private readonly alignment: number;
  private readonly takesHoles: boolean;
  private readonly discardUnit: number | null;
  private readonly spawner: Spawner;
  private readonly transfers: Transfers;
  /** Unaligned direct writes read, change and write whole sectors, so only one runs at a time. */
  private edgeTurn: Promise<void> = Promise.resolve();

  constructor(
    readonly path: string,
    private readonly file: FileHandle,
    facts: LocalFacts,
  ) {
    this.size = facts.size;
    this.number = facts.number;
    this.direct = facts.direct;
    this.alignment = facts.alignment;
    this.takesHoles = facts.takesHoles;
    this.discardUnit = facts.discardUnit;
    this.spawner = facts.spawner;
    this.transfers = new Transfers(facts.number !== null);
  }

  /** The current path of the open file or device, without links, whatever its name points to by now. */
  async realPath(): Promise<string> {
    return await attempt(this.path, 'stat', () => readlink(`/proc/self/fd/${this.file.fd}`));
  }

  /** Locks it (flock) until it is closed. False if another process has the lock. Throws DeviceError. */
  async lock(): Promise<boolean> {
    return await attempt(this.path, 'lock', () => tryToLock(this.file.fd, 'exclusive'));
  }

  /**
   * Takes QEMU's own locks of it until it is closed, so that no QEMU opens it for writing. False if a QEMU has it open.
   * Throws DeviceError.
   */
  async keepQemuOut(): Promise<boolean> {
    return await attempt(this.path, 'lock', () => tryToKeepQemuOut(this.file.fd));
  }

  /** The ranges that hold data: all of a block device; of a file, everything but its holes. */
  dataExtents(): AsyncGenerator<Extent> | Extent[] {
    return this.number === null ? dataExtentsOf(this.file.fd, this.size) : [{ offset: 0, length: this.size }];
  }

  async readAt(bytes: Uint8Array, offset: number): Promise<void> {
    if (!this.direct || this.fits(bytes, offset)) await this.readFully(bytes, offset);
    else await this.readBounced(bytes, offset);
  }

  async writeAt(bytes: Uint8Array, offset: number): Promise<void> {
    if (!this.direct || this.fits(bytes, offset)) await this.writeFully(bytes, offset);
    else if (this.isSectors(bytes.length, offset)) await this.writeCopied(bytes, offset);
    else await this.takeEdgeTurn(() => this.writeEdges(bytes, offset));
  }

  async writePiecesAt(pieces: readonly Uint8Array[], offset: number): Promise<void> {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.refusePastEnd(offset, length);
    const [first] = pieces;
    if (pieces.length === 1 && first !== undefined) {
      await this.writeAt(first, offset);
      return;
    }
    if (!this.direct || (offset % this.alignment === 0 && pieces.every((piece) => this.fits(piece, 0)))) {
      await this.writeTogether(pieces, offset, length);
      return;
    }
    let at = offset;
    for (const piece of pieces) {
      await this.writeAt(piece, at);
      at += piece.length;
    }
  }

  async zero(offset: number, length: number): Promise<void> {
    const zeroes = allocateAligned(Math.min(length, BOUNCE_LIMIT));
    zeroes.fill(0);
    try {
      for (let done = 0; done < length; done += zeroes.length) {
        await this.writeAt(zeroes.subarray(0, Math.min(zeroes.length, length - done)), offset + done);
      }
    } finally {
      freeAligned(zeroes);
    }
  }

  async discard(offset: number, length: number): Promise<void> {
    this.refusePastEnd(offset, length);
    const { alignment, takesHoles, discardUnit } = this;
    const how = { isBlockDevice: this.number !== null, alignment, takesHoles, discardUnit };
    const done = await deallocate(this.file.fd, { offset, length }, how, this.ownWrites);
    const end = offset + length;
    const [from, to] = done === null ? [end, end] : [done.offset, endOf(done)];
    if (done?.isSure === false) await zeroLeftOvers(this, done);
    if (from > offset) await this.zero(offset, from - offset);
    if (to < end) await this.zero(to, end - to);
  }

  async flush(): Promise<void> {
    await attempt(this.path, 'flush', () => this.file.datasync());
  }

  async refresh(): Promise<void> {
    if (this.direct || this.number === null) return;
    const argv = ['blockdev', '--flushbufs', this.path] as const;
    const result = await this.spawner.run([...argv]);
    if (result.status !== 0) {
      const problem = 'cannot drop the stale page cache of this device, which allows no direct I/O';
      throw new CommandError(argv, problem, result);
    }
  }

  async close(): Promise<void> {
    await attempt(this.path, 'close', () => this.file.close());
  }

  private fits(bytes: Uint8Array, offset: number): boolean {
    return this.isSectors(bytes.length, offset) && isAligned(bytes);
  }

  private isSectors(length: number, offset: number): boolean {
    return offset % this.alignment === 0 && length % this.alignment === 0;
  }

  /** Reads whole sectors around the range into aligned memory, then copies the range out. */
  private async readBounced(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const start = offset + done;
      const skip = start - roundDown(start, this.alignment);
      const length = Math.min(bytes.length - done, BOUNCE_LIMIT - skip);
      const bounce = allocateAligned(roundUp(skip + length, this.alignment));
      try {
        await this.readFully(bounce, start - skip, skip + length);
        bytes.set(bounce.subarray(skip, skip + length), done);
      } finally {
        freeAligned(bounce);
      }
      done += length;
    }
  }

  private async writeCopied(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length; done += BOUNCE_LIMIT) {
      const piece = bytes.subarray(done, done + BOUNCE_LIMIT);
      const copy = allocateAligned(piece.length);
      try {
        copy.set(piece);
        await this.writeFully(copy, offset + done);
      } finally {
        freeAligned(copy);
      }
    }
  }

  /** Writes a range that starts or ends within a sector. The rest of those sectors stays the same. */
  private async writeEdges(bytes: Uint8Array, offset: number): Promise<void> {
    const start = roundDown(offset, this.alignment);
    const end = Math.min(roundUp(offset + bytes.length, this.alignment), this.size);
    const whole = allocateAligned(end - start);
    try {
      await this.readAt(whole, start);
      whole.set(bytes, offset - start);
      await this.writeFully(whole, start);
    } finally {
      freeAligned(whole);
    }
  }

  private async takeEdgeTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.edgeTurn.then(work);
    this.edgeTurn = turn.catch(() => undefined);
    await turn;
  }

  /** Reads at least `needed` bytes. A buffer that is rounded up to sectors may extend past the device's end. */
  private async readFully(bytes: Uint8Array, offset: number, needed = bytes.length): Promise<void> {
    let done = 0;
    while (done < needed) {
      const left = bytes.subarray(done);
      const count = await this.transfer('read', [left], left.length, offset + done);
      if (count === 0) {
        throw new DeviceError(this.path, 'read', offset + done, `it ends at byte ${this.size}`);
      }
      done += count;
    }
  }

  private async writeFully(bytes: Uint8Array, offset: number): Promise<void> {
    this.refusePastEnd(offset, bytes.length);
    for (let done = 0; done < bytes.length;) {
      const left = bytes.subarray(done);
      done += await this.transfer('write', [left], left.length, offset + done);
    }
  }

  private async writeTogether(pieces: readonly Uint8Array[], offset: number, length: number): Promise<void> {
    let done = await this.transfer('write', pieces, length, offset);
    if (done === length) return;
    // A short write: write the rest piece by piece.
    let at = offset;
    for (const piece of pieces) {
      const skip = Math.min(done, piece.length);
      if (skip < piece.length) await this.writeAt(piece.subarray(skip), at + skip);
      done -= skip;
      at += piece.length;
    }
  }

  private refusePastEnd(offset: number, length: number): void {
    if (offset + length <= this.size) return;
    // An image file would grow, and a target must never be extended.
    throw new DeviceError(this.path, 'write', offset, `it ends at byte ${this.size}`);
  }

  /** One system call. */
  private async transfer(
    kind: 'read' | 'write',
    pieces: readonly Uint8Array[],
    length: number,
    position: number,
  ): Promise<number> {
    try {
      const count = await this.transfers.run({ kind, fd: this.file.fd, pieces, length, position });
      if (kind === 'write') this.ownWrites.written += count;
      return count;
    } catch (error) {
      if (kind === 'write') this.ownWrites.written += length;
      throw new DeviceError(this.path, kind, position, error);
    }
  }
}

async function attempt<T>(
  path: string,
  operation: ConstructorParameters<typeof DeviceError>[1],
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new DeviceError(path, operation, null, error);
  }
}
