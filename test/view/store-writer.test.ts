import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { endOf, type Extent } from '../../src/bytes/extent.js';
import { BaseView } from '../../src/changes/base-view.js';
import { parseCowHeader } from '../../src/changes/cow-format.js';
import { checkExceptionStore, readBatches, readExceptionStore } from '../../src/changes/exception-store.js';
import { DeviceError, FormatError, SnapshotError, UnsafeTargetError, UsageError } from '../../src/errors.js';
import { BufferPool } from '../../src/memory/aligned-memory.js';
import type { Block } from '../../src/stream/block.js';
import { planStore, sizeForAll } from '../../src/view/store-plan.js';
import { writeStore, type OldContents } from '../../src/view/store-writer.js';
import { MemoryDevice, type Faults } from '../support/memory-device.js';
import { quietSurroundings } from '../support/surroundings.js';

const KIB = 1024;
const GARBAGE = 0xa5;

/** Blocks of an old volume in a few extents; counts what was not given back. */
class OldVolume implements OldContents {
  held = 0;

  constructor(
    readonly bytes: Buffer,
    readonly ranges: readonly Extent[],
    /** Blocks are cut at multiples of this. */
    private readonly cut = 4096,
  ) {}

  readonly extents = () => this.ranges;

  readonly blocks = async function* (this: OldVolume): AsyncGenerator<Block> {
    for (const extent of this.ranges) {
      for (let offset = extent.offset; offset < endOf(extent);) {
        const length = Math.min(this.cut - (offset % this.cut), endOf(extent) - offset);
        const bytes = this.bytes.subarray(offset, offset + length);
        if (bytes.every((byte) => byte === 0)) yield { kind: 'zero', offset, length };
        else {
          this.held += 1;
          const release = () => (this.held -= 1);
          yield { kind: 'data', offset, length, data: { bytes: Buffer.from(bytes), release } };
        }
        await Promise.resolve();
        offset += length;
      }
    }
  }.bind(this);
}

function bytesOf(size: number, seed: number): Buffer {
  return Buffer.from(
    Uint8Array.from({ length: size }, (_, index) => (index * 7 + (index >> 9) * seed) & 0xff),
  );
}

/** A target that is the old volume everywhere but in the ranges. */
function targetOf(old: Buffer, ranges: readonly Extent[]): Buffer {
  const target = Buffer.from(old);
  for (const { offset, length } of ranges) target.fill(0xee, offset, offset + length);
  return target;
}

function makeStore(old: OldVolume, target: MemoryDevice | null, faults: Faults = {}, room = 0) {
  const plan = planStore(old.ranges, old.bytes.length, target !== null);
  const store = new MemoryDevice(Buffer.alloc(plan.usedBytes + room, GARBAGE), 'store', faults);
  const { lend } = new BufferPool(4 * KIB * KIB);
  const done = writeStore(store, { plan, old, target }, lend, quietSurroundings());
  return { plan, store, done };
}

/** All of the volume that a store and what is under it show. */
async function shownBy(store: MemoryDevice, target: MemoryDevice): Promise<Buffer> {
  const shown = Buffer.alloc(target.size);
  await new BaseView(store, target).readAt(shown, 0);
  return shown;
}

/** Ascending ranges without overlaps, in sectors, within a volume of so many; touching ones too. */
const rangesIn = (sectors: number) =>
  fc.uniqueArray(fc.nat(sectors), { minLength: 2, maxLength: 40 }).map((cuts) => {
    const edges = cuts.sort((a, b) => a - b);
    return edges.slice(1).flatMap((end, index): Extent[] => {
      const start = edges[index] ?? 0;
      return index % 3 === 2 ? [] : [{ offset: start * 512, length: (end - start) * 512 }];
    });
  });

describe('a store written from old bytes', () => {
  it('shows the old volume over the present one, whatever the extents and the volume’s end', async () => {
    const sectors = 3000 + 5;
    const old = bytesOf(sectors * 512, 31);
    old.fill(0, 200 * 512, 700 * 512);
    await fc.assert(
      fc.asyncProperty(rangesIn(sectors), fc.constantFrom(512, 4096, 65_536), async (ranges, cut) => {
        const volume = new OldVolume(old, ranges, cut);
        const target = new MemoryDevice(targetOf(old, ranges));
        const { store, done, plan } = makeStore(volume, target);
        await done;
        expect(volume.held).toBe(0);
        const contents = await readExceptionStore(store, { trackedSize: old.length, volumeSize: old.length });
        expect(contents).toMatchObject({ exceptions: plan.exceptions, storeUsed: plan.usedBytes });
        expect(await shownBy(store, target)).toBeBytes(old);
      }),
      { numRuns: 60, seed: 7 },
    );
  });

  it.each([255, 256, 257, 512, 513])('of %i chunks of 4 KiB ends in the right table', async (chunks) => {
    // every other chunk, so that larger ones would need as much filling again
    const ranges = Array.from({ length: chunks }, (_, index) => ({ offset: index * 8192, length: 4096 }));
    const old = bytesOf(chunks * 8192, 3);
    const target = new MemoryDevice(targetOf(old, ranges));
    const { store, done, plan } = makeStore(new OldVolume(old, ranges), target);
    await done;
    expect(plan).toMatchObject({ exceptions: chunks, fillBytes: 0, layout: { chunkSize: 4096 } });
    expect(await shownBy(store, target)).toBeBytes(old);
  });

  it('has its chunks in ascending order, so that a merge takes whole runs', async () => {
    const ranges = [{ offset: 0, length: 300 * 4096 }];
    const old = bytesOf(400 * 4096, 3);
    const { store, done } = makeStore(new OldVolume(old, ranges), new MemoryDevice(targetOf(old, ranges)));
    await done;
    const { batches } = await readBatches(store, old.length);
    const found: [number, number][] = [];
    for await (const { count, oldChunks, newChunks } of batches) {
      for (let i = 0; i < count; i++) found.push([oldChunks[i] ?? -1, newChunks[i] ?? -1]);
    }
    expect(found).toEqual(Array.from({ length: 19 }, (_, index) => [index, index + 2]));
  });

  it('zeroes the part of the last chunk that lies past the volume’s end', async () => {
    const size = 64 * KIB + 512;
    const ranges = [{ offset: 64 * KIB, length: 512 }];
    const old = bytesOf(size, 5);
    const { store, done, plan } = makeStore(new OldVolume(old, ranges), null);
    await done;
    const chunk = store.bytes.subarray(2 * plan.layout.chunkSize);
    expect(chunk.subarray(0, 512)).toBeBytes(old.subarray(64 * KIB));
    expect(chunk.subarray(512, plan.layout.chunkSize)).toBeBytes(Buffer.alloc(plan.layout.chunkSize - 512));
  });
});

describe('a store that is not written to its end', () => {
  it('is not a store: nothing says that it is valid before everything else is flushed', async () => {
    const ranges = [{ offset: 0, length: 700 * 4096 }];
    const old = bytesOf(800 * 4096, 9);
    const target = new MemoryDevice(targetOf(old, ranges));
    // each write of the run is the last one, once
    for (let last = 0; ; last++) {
      let writes = 0;
      const dies = new DeviceError('store', 'write', 0, new Error('killed'));
      const beforeWrite = () => {
        writes += 1;
        if (writes > last) throw dies;
      };
      const { store, done } = makeStore(new OldVolume(old, ranges), target, { beforeWrite });
      if (
        await done.then(
          () => true,
          () => false,
        )
      ) {
        const header = store.calls.lastIndexOf('write 0+4096');
        expect(store.calls.slice(header - 1)).toEqual(['flush', 'write 0+4096', 'flush']);
        expect(last).toBeGreaterThan(4);
        return;
      }
      if (last > 0) await expect(checkExceptionStore(store)).rejects.toThrow(SnapshotError);
    }
  });

  it('gives all memory back when a write fails', async () => {
    const ranges = [{ offset: 0, length: 700 * 4096 }];
    const old = bytesOf(800 * 4096, 9);
    const volume = new OldVolume(old, ranges);
    const { done } = makeStore(volume, new MemoryDevice(old), { badByte: 1024 * KIB });
    await expect(done).rejects.toThrow(/store: write at byte .*EIO/);
    expect(volume.held).toBe(0);
  });
});

describe('blocks that are not what was announced', () => {
  const old = bytesOf(64 * 4096, 2);
  const announced = [{ offset: 8192, length: 8192 }];
  const block = (offset: number, length: number): Block => ({ kind: 'zero', offset, length });
  it.each([
    ['too few', [block(8192, 4096)], /4096 bytes came, but 8192/],
    ['none', [], /0 bytes came, but 8192/],
    ['too many', [block(8192, 8192), block(40_960, 4096)], /outside the announced extents/],
    ['elsewhere', [block(0, 8192)], /outside the announced extents/],
    ['twice', [block(8192, 8192), block(8192, 8192)], /overlap or are not in ascending order/],
  ])('%s', async (_name, blocks, words) => {
    const made: OldContents = {
      extents: () => announced,
      blocks: async function* () {
        await Promise.resolve();
        yield* blocks;
      },
    };
    const plan = planStore(announced, old.length, true);
    const store = new MemoryDevice(plan.usedBytes);
    const { lend } = new BufferPool(4 * KIB * KIB);
    const target = new MemoryDevice(old);
    const done = writeStore(store, { plan, old: made, target }, lend, quietSurroundings());
    await expect(done).rejects.toThrow(FormatError);
    await expect(done).rejects.toThrow(words);
    await expect(checkExceptionStore(store)).rejects.toThrow(/never initialized/);
  });
});

describe('the plan of a store', () => {
  const MIB = KIB * KIB;

  it('takes large chunks for long runs, small ones for scattered blocks', () => {
    expect(planStore([{ offset: MIB, length: MIB }], 8 * MIB, true).layout.chunkSize).toBe(65_536);
    const scattered = Array.from({ length: 50 }, (_, index) => ({ offset: index * 65_536, length: 4096 }));
    expect(planStore(scattered, 8 * MIB, true)).toMatchObject({ exceptions: 50, fillBytes: 0 });
    const near = scattered.map(({ offset }) => ({ offset, length: 61_440 }));
    expect(planStore(near, 8 * MIB, true)).toMatchObject({
      layout: { chunkSize: 65_536 },
      fillBytes: 50 * 4096,
    });
  });

  it('needs no filling if there is nothing to fill from', () => {
    const odd = [{ offset: 4096, length: 8192 }];
    expect(planStore(odd, MIB, false)).toMatchObject({ layout: { chunkSize: 4096 }, fillBytes: 0 });
    expect(() => planStore([{ offset: 512, length: 4096 }], MIB, false)).toThrow(UsageError);
    // what lies past the volume's end needs none
    expect(planStore([{ offset: 65_536, length: 512 }], 66_048, false).layout.chunkSize).toBe(65_536);
  });

  it('knows the size at which a store never fills up', () => {
    const plan = planStore([{ offset: 0, length: 4096 }], 300 * 65_536, false);
    expect(plan.layout.chunkSize).toBe(4096);
    expect(sizeForAll(plan)).toBe((1 + 19 + 4800) * 4096);
  });

  it('of nothing is a store without exceptions', async () => {
    const target = new MemoryDevice(bytesOf(65_536, 1));
    const { store, done } = makeStore(new OldVolume(target.bytes, []), target);
    await done;
    expect(parseCowHeader(store.bytes, 'store').valid).toBe(1);
    expect(await shownBy(store, target)).toBeBytes(target.bytes);
  });
});

it('refuses a device that is too small, before it writes', async () => {
  const old = bytesOf(65_536, 1);
  const { done, store } = makeStore(new OldVolume(old, [{ offset: 0, length: 65_536 }]), null, {}, -1);
  await expect(done).rejects.toThrow(UnsafeTargetError);
  expect(store.calls).toEqual([]);
});
