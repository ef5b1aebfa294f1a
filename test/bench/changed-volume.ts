import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { StoreLayout } from '../../src/changes/cow-format.js';
import { compareChunks, scatter, writeSparseStore } from './stores.js';

const CHUNK = 65_536;
/** The store's old bytes, the volume, its changed bytes alone, the target, a rival's copy, and a journal. */
const COPIES = 6.2;

/** Turns the old bytes of a chunk into the new ones. */
export type Rewrite = (chunk: Buffer) => void;

/** How large a volume is, in chunks of 64 KiB as a power of two, and how many of them changed. */
export interface VolumeShape {
  readonly bits: number;
  readonly chunks: number;
}

/** A volume of which half is changed: as many bytes, a power of two, as are asked for. */
export function halfChanged(bytes: number): VolumeShape {
  return { bits: Math.log2(bytes / CHUNK) + 1, chunks: bytes / CHUNK };
}

/** What a changed volume takes, with room for those who copy it. Bytes. */
export function spaceOf({ chunks }: VolumeShape): number {
  return COPIES * chunks * CHUNK;
}

/** A volume of which 64 KiB chunks, by chance, changed since a snapshot; and a target. Paths of files. */
export class ChangedVolume {
  readonly changedBytes: number;
  readonly cow: string;
  readonly origin: string;
  /** The changed bytes, end to end: what rivals copy. */
  readonly alone: string;
  readonly target: string;
  /** Where a rival copies to. */
  readonly copy: string;
  /** Where each changed chunk is in the volume, and its old bytes in the store. Bytes. */
  private readonly places: readonly { readonly at: number; readonly kept: number }[];

  /** @param rewrite what the changes are: all bytes, if not given, which nothing compresses */
  constructor(
    folder: string,
    { bits, chunks }: VolumeShape,
    rewrite: Rewrite = (chunk) => randomFillSync(chunk),
  ) {
    const file = (name: string): string => path.join(folder, name);
    [this.cow, this.origin, this.alone] = [file('store.cow'), file('origin.img'), file('changed.bin')];
    [this.target, this.copy] = [file('target.img'), file('copy.bin')];
    this.changedBytes = chunks * CHUNK;
    const { areaEntries } = new StoreLayout(CHUNK / 512);
    this.places = Array.from({ length: chunks }, (_, index) => ({
      at: scatter(index, bits) * CHUNK,
      kept: (index + Math.floor(index / areaEntries) + 2) * CHUNK,
    }));
    writeSparseStore(this.cow, CHUNK / 512, chunks, (index) => scatter(index, bits));
    this.write(2 ** bits * CHUNK, rewrite);
  }

  /** Makes the target what the snapshot froze: what a transfer may rely on. */
  reset(): void {
    const [store, target] = [openSync(this.cow, 'r'), openSync(this.target, 'r+')];
    const chunk = Buffer.alloc(CHUNK);
    for (const { at, kept } of this.places) {
      readSync(store, chunk, 0, CHUNK, kept);
      writeSync(target, chunk, 0, CHUNK, at);
    }
    [store, target].forEach(closeSync);
  }

  /** Throws unless the target has every changed chunk. */
  verify(): void {
    const chunks = this.places.map(({ at }) => at / CHUNK);
    compareChunks(this.target, this.origin, chunks, CHUNK);
  }

  private write(size: number, rewrite: Rewrite): void {
    const store = openSync(this.cow, 'r+');
    const [origin, target] = [openSync(this.origin, 'wx'), openSync(this.target, 'wx')];
    const alone = openSync(this.alone, 'wx');
    for (const file of [origin, target]) ftruncateSync(file, size);
    const chunk = Buffer.alloc(CHUNK);
    for (const { at, kept } of this.places) {
      randomFillSync(chunk);
      writeSync(store, chunk, 0, CHUNK, kept);
      writeSync(target, chunk, 0, CHUNK, at);
      rewrite(chunk);
      writeSync(origin, chunk, 0, CHUNK, at);
      writeSync(alone, chunk);
    }
    // Not held open: a target that anyone has open is refused.
    [store, origin, target, alone].forEach(closeSync);
  }
}
