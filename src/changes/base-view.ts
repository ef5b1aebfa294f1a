import type { ChunkSet } from '../bytes/chunk-set.js';
import type { BlockDevice } from '../device/block-device.js';
import { readBatches, readExceptionStore } from './exception-store.js';

/**
 * A number for each chunk of a set: eight bytes a chunk; a Map would use forty, and is limited to 16 million entries.
 */
export class ChunkMap {
  private readonly pages = new Map<number, Float64Array>();

  /** @param chunks all chunks that will ever be set; this set must not grow any more */
  constructor(private readonly chunks: ChunkSet) {}

  /** Ignores chunks that are not in the set. */
  set(chunk: number, value: number): void {
    const place = this.chunks.rankInPage(chunk);
    if (place === null) return;
    const page = this.roomFor(place.page, place.rank);
    page[place.rank] = value;
  }

  get(chunk: number): number | undefined {
    const place = this.chunks.rankInPage(chunk);
    return place === null ? undefined : this.pages.get(place.page)?.[place.rank];
  }

  private roomFor(number: number, rank: number): Float64Array {
    const page = this.pages.get(number) ?? new Float64Array(16);
    if (rank < page.length) {
      this.pages.set(number, page);
      return page;
    }
    const grown = new Float64Array(2 ** Math.ceil(Math.log2(rank + 1)));
    grown.set(page);
    this.pages.set(number, grown);
    return grown;
  }
}

/** A volume that can be read, whatever it is made of. */
export type ReadableVolume = Pick<BlockDevice, 'path' | 'size' | 'readAt'>;

/**
 * A volume as it was when its snapshot was made, assembled from its store in a file and the present volume: what the
 * kernel's snapshot device shows, without the kernel. The store's table is read when it is first needed.
 */
export class BaseView implements ReadableVolume {
  readonly path: string;
  readonly size: number;
  private map: Promise<StoreMap> | null = null;

  constructor(
    private readonly cow: BlockDevice,
    private readonly volume: BlockDevice,
  ) {
    this.path = cow.path;
    this.size = volume.size;
  }

  /** Throws what reading a store throws, and DeviceError. */
  async readAt(bytes: Uint8Array, offset: number): Promise<void> {
    this.map ??= StoreMap.read(this.cow, this.volume.size);
    const map = await this.map;
    for (let done = 0; done < bytes.length;) {
      const { place, length } = map.find(offset + done, bytes.length - done);
      const part = bytes.subarray(done, done + length);
      if (place === null) await this.volume.readAt(part, offset + done);
      else await this.cow.readAt(part, place);
      done += length;
    }
  }
}

/** Where a store keeps each chunk. */
class StoreMap {
  private constructor(
    private readonly chunkSize: number,
    private readonly newChunks: ChunkMap,
  ) {}

  /**
   * Where the store keeps the bytes from `offset` on, or null if it does not have them, and how many bytes up to
   * `limit` are there in one piece: chunks that were first written in order are stored in order.
   */
  find(offset: number, limit: number): { readonly place: number | null; readonly length: number } {
    const { chunkSize, newChunks } = this;
    const chunk = Math.floor(offset / chunkSize);
    const within = offset - chunk * chunkSize;
    const first = newChunks.get(chunk);
    let count = 1;
    while (count * chunkSize - within < limit) {
      const expected = first === undefined ? undefined : first + count;
      if (newChunks.get(chunk + count) !== expected) break;
      count += 1;
    }
    const length = Math.min(limit, count * chunkSize - within);
    return { place: first === undefined ? null : first * chunkSize + within, length };
  }

  static async read(cow: BlockDevice, volumeSize: number): Promise<StoreMap> {
    const { changes } = await readExceptionStore(cow, { trackedSize: volumeSize, volumeSize });
    const newChunks = new ChunkMap(changes.chunks);
    // A second pass: only now is it known how many chunks precede each one.
    const { layout, batches } = await readBatches(cow, volumeSize);
    for await (const batch of batches) {
      for (let i = 0; i < batch.count; i++) newChunks.set(batch.oldChunks[i] ?? 0, batch.newChunks[i] ?? 0);
    }
    return new StoreMap(layout.chunkSize, newChunks);
  }
}
