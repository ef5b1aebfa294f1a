import type { LendBuffer } from '../bytes/byte-channel.js';
import { type Extent, SECTOR } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import { COW_MAGIC, encodeCowHeader, encodeExceptions, type StoreLayout } from '../changes/cow-format.js';
import type { BlockDevice } from '../device/block-device.js';
import { UnsafeTargetError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { Block } from '../stream/block.js';
import { BlockCursor } from './block-cursor.js';
import type { StorePlan } from './store-plan.js';
import { cutWindows, type StoreWindow } from './store-window.js';

const HEADER_WRITE = 4096;
/** Writes under way at once. */
const WRITES_AHEAD = 4;

/** Bytes that a volume had: their extents, known beforehand, and the bytes themselves in the same order. */
export interface OldContents {
  /** Ascending, without overlaps. May be called several times. */
  readonly extents: () => Iterable<Extent>;
  /** Exactly these extents, cut in any way. */
  readonly blocks: () => AsyncIterable<Block>;
}

/** What a store is made from. */
export interface StoreMaterial {
  readonly plan: StorePlan;
  readonly old: OldContents;
  /** Has the rest of partly touched chunks; null if there are no such chunks. */
  readonly target: ReadableVolume | null;
}

/**
 * Writes a dm-snapshot exception store: over the target it shows the old bytes. The header, which makes it a store, is
 * written last and after a flush: an unfinished store is not a store. Neighbouring chunks are next to each other, in
 * order.
 *
 * Throws DeviceError; FormatError if the blocks do not match the extents; UnsafeTargetError if the store is too small;
 * the interruption.
 */
export async function writeStore(
  store: BlockDevice,
  { plan, old, target }: StoreMaterial,
  lend: LendBuffer,
  env: Pick<Surroundings, 'progress' | 'signal'>,
): Promise<void> {
  const { layout, usedBytes, exceptions } = plan;
  if (store.size < usedBytes) {
    throw new UnsafeTargetError(
      store.path,
      `too small: it has ${store.size} bytes, but ${usedBytes} are needed`,
    );
  }
  // What is here may already look like a store.
  await store.zero(0, layout.chunkSize);
  await store.flush();
  const tables = new Tables(store, layout);
  const cursor = new BlockCursor(old.blocks());
  env.progress.start(exceptions * layout.chunkSize);
  try {
    const writes = new WritesUnderWay();
    try {
      for (const window of cutWindows(old.extents(), layout)) {
        env.signal.throwIfAborted();
        const loan = await lend(window.count * layout.chunkSize);
        const { bytes } = loan;
        try {
          await fill(window, plan, target, bytes);
          await cursor.copyInto(window, bytes);
        } catch (error) {
          loan.release();
          throw error;
        }
        await writes.start(() =>
          store.writeAt(bytes, window.storeOffset).finally(() => {
            loan.release();
          }),
        );
        await tables.add(window);
        env.progress.advance(bytes.length);
      }
      await cursor.expectEnd();
    } finally {
      await cursor.close();
      await writes.settle();
    }
    writes.throwFailure();
    await tables.finish();
  } finally {
    env.progress.stop();
  }
  await store.flush();
  await writeHeader(store, layout);
}

async function writeHeader(store: BlockDevice, { chunkSize }: StoreLayout): Promise<void> {
  const header = Buffer.alloc(HEADER_WRITE);
  encodeCowHeader({ magic: COW_MAGIC, valid: 1, version: 1, chunkSectors: chunkSize / SECTOR }).copy(header);
  await store.writeAt(header, 0);
  await store.flush();
}

/** Reads the target's bytes for chunks that the extents cover in part; past the volume's end there are zeroes. */
async function fill(
  window: StoreWindow,
  { volumeSize }: StorePlan,
  target: ReadableVolume | null,
  bytes: Buffer,
): Promise<void> {
  const reads: Promise<void>[] = [];
  for (const { offset, length, at } of window.gaps(volumeSize)) {
    const within = Math.max(0, Math.min(length, volumeSize - offset));
    bytes.fill(0, at + within, at + length);
    if (within === 0) continue;
    if (target === null) throw new Error(`nothing to fill ${within} bytes at ${offset} from`);
    reads.push(target.readAt(bytes.subarray(at, at + within), offset));
  }
  // Wait for all: after a failure no other read may still write into memory that is released.
  for (const result of await Promise.allSettled(reads)) {
    if (result.status === 'rejected') throw result.reason;
  }
}

/** The tables of the areas, each written when its last exception is known. */
class Tables {
  private area = 0;
  private entries: { oldChunk: number; newChunk: number }[] = [];

  constructor(
    private readonly store: BlockDevice,
    private readonly layout: StoreLayout,
  ) {}

  async add({ oldChunks, storeOffset }: StoreWindow): Promise<void> {
    const first = storeOffset / this.layout.chunkSize;
    for (const [index, oldChunk] of oldChunks.entries()) {
      this.entries.push({ oldChunk, newChunk: first + index });
    }
    if (this.entries.length === this.layout.areaEntries) await this.write();
  }

  /** A full area is followed by another one, which may be empty. */
  async finish(): Promise<void> {
    await this.write();
  }

  private async write(): Promise<void> {
    const { chunkSize } = this.layout;
    await this.store.writeAt(encodeExceptions(this.entries, chunkSize), this.layout.tableOffset(this.area));
    this.area += 1;
    this.entries = [];
  }
}

/** Several writes at once; the first failure stops all later ones. */
class WritesUnderWay {
  private readonly writes = new Set<Promise<void>>();
  private failure: unknown = null;

  async start(write: () => Promise<void>): Promise<void> {
    const running = write().catch((error: unknown) => {
      this.failure ??= error;
    });
    this.writes.add(running);
    void running.then(() => this.writes.delete(running));
    if (this.writes.size >= WRITES_AHEAD) await Promise.race(this.writes);
    this.throwFailure();
  }

  async settle(): Promise<void> {
    await Promise.all(this.writes);
  }

  throwFailure(): void {
    if (this.failure !== null) throw this.failure as Error;
  }
}
