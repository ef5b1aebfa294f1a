import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../src/bytes/contents.js';
import { endOf } from '../../src/bytes/extent.js';
import { BATCH_ENTRIES, BlockBatch, ENTRY } from '../../src/stream/batches/batch.js';
import { BatchFiller, gatherBatches } from '../../src/stream/batches/gather-batches.js';
import type { StreamItem } from '../../src/stream/block.js';
import type { PackedItem } from '../../src/stream/unpack-blocks.js';
import { describeItem, Lender } from '../support/scenes/feed.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const SECTOR = 512;

/** An item without its bytes, which `read` makes from its place. */
type Told =
  | { readonly kind: 'data' | 'zero' | 'discard' | 'proof' | 'section'; offset: number; length: number }
  | { readonly kind: 'next-pass' };

function bytesFor(offset: number, length: number): Buffer {
  return Buffer.alloc(length, `${offset} and so on `);
}

/** Reads the items into a filler's memory, as a stream's reader does; fails after the last one where that is wanted. */
async function* read(told: readonly Told[], filler: BatchFiller, fails = false): AsyncGenerator<StreamItem> {
  for (const each of told) {
    if (each.kind === 'next-pass') yield each;
    else if (each.kind === 'data') {
      const data = await filler.lend(each.length);
      bytesFor(each.offset, each.length).copy(data.bytes);
      yield { ...each, kind: 'data', data };
    } else if (each.kind === 'section') yield { ...each, kind: 'section', oldCrc: each.offset, newCrc: 7 };
    else if (each.kind === 'proof') yield { ...each, kind: 'proof', crc: each.offset };
    else yield { kind: each.kind, offset: each.offset, length: each.length };
  }
  if (fails) throw new Error('the stream is damaged here');
}

/** All batches and marks, released after `look` has seen them. */
async function gather(
  told: readonly Told[],
  {
    apart = 0,
    fails = false,
    look,
  }: { apart?: number; fails?: boolean; look?: (batch: BlockBatch) => void } = {},
) {
  const lender = new Lender();
  const filler = new BatchFiller(lender.lend);
  const gathered: string[][] = [];
  let error: unknown = null;
  try {
    for await (const item of gatherBatches(read(told, filler, fails), filler, apart)) {
      if (!('batch' in item)) {
        gathered.push([describeItem(item)]);
        continue;
      }
      const { batch } = item;
      gathered.push(entriesOf(batch));
      look?.(batch);
      batch.release();
    }
  } catch (thrown) {
    error = thrown;
  }
  expect(lender.outstanding, 'all memory came back').toBe(0);
  return { gathered, error };
}

function entriesOf(batch: BlockBatch): string[] {
  const entries: string[] = [];
  for (let entry = batch.first; entry < batch.count; entry++) entries.push(describeItem(batch.itemAt(entry)));
  return entries;
}

function describeTold(each: Told): string {
  if (each.kind === 'next-pass') return each.kind;
  const { offset, length } = each;
  const hex = (crc: number) => crc.toString(16).padStart(8, '0');
  if (each.kind === 'data') return `data ${offset} ${length} ${hex(crc32(bytesFor(offset, length)))}`;
  if (each.kind === 'proof') return `proof ${offset} ${length} ${hex(offset)}`;
  if (each.kind === 'section') return `section ${offset} ${length} ${hex(offset)} ${hex(7)}`;
  return `${each.kind} ${offset} ${length}`;
}

/** Each proof is with its block, each section with its parts, and the extents are those that a batch may have. */
function expectWhole(batch: BlockBatch): void {
  let data = 0;
  for (let entry = batch.first; entry < batch.count; entry++) {
    if (batch.kindAt(entry) === ENTRY.data) data += batch.lengthAt(entry);
    const isAlone = entry + 1 === batch.count || !batch.isBlockAt(entry + 1);
    if (batch.kindAt(entry) === ENTRY.proof) expect(isAlone, 'a proof without its block').toBe(false);
  }
  expect(data, 'a batch has no more data than its memory').toBeLessThanOrEqual(MIB);
}

/** Blocks with and without proofs, and sections with some parts, one after another. */
const anyStream: fc.Arbitrary<Told[]> = fc
  .array(
    fc.record({
      kind: fc.constantFrom('data', 'data', 'proved', 'zero', 'discard', 'section', 'section', 'pass'),
      sectors: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: MIB / SECTOR })),
      /** Which share of a section's sectors came, and how long each part is. */
      gap: fc.integer({ min: 0, max: 5 }),
      part: fc.integer({ min: 1, max: 64 }),
    }),
    { maxLength: 40 },
  )
  .map((pieces) => {
    const told: Told[] = [];
    let offset = 0;
    for (const { kind, sectors, gap, part } of pieces) {
      const whole = { offset, length: sectors * SECTOR };
      if (kind === 'pass') {
        told.push({ kind: 'next-pass' });
        continue;
      }
      if (kind === 'section') {
        told.push({ kind, ...whole });
        for (let at = offset; at < endOf(whole); at += (part + gap) * SECTOR) {
          told.push({ kind: 'data', offset: at, length: Math.min(part * SECTOR, endOf(whole) - at) });
        }
      } else if (kind === 'proved') told.push({ kind: 'proof', ...whole }, { kind: 'data', ...whole });
      else told.push({ kind, ...whole });
      offset = endOf(whole);
    }
    return told;
  });

describe('gathered batches', () => {
  it('have all items of the stream in their order, with their bytes, and give all memory back', async () => {
    await fc.assert(
      fc.asyncProperty(anyStream, fc.boolean(), async (told, fails) => {
        const { gathered, error } = await gather(told, { fails, look: expectWhole });
        expect(gathered.flat()).toEqual(told.map(describeTold));
        expect(error === null, 'an error comes after what came before it').toBe(!fails);
      }),
      { numRuns: 60 },
    );
  });

  it('keep a section with all of its parts, also where it fills the memory or has as many parts as there can be', async () => {
    const parts = (offset: number, length: number, step: number): Told[] =>
      Array.from({ length: MIB / step }, (_, index) => ({
        kind: 'data',
        offset: offset + index * step,
        length,
      }));
    for (const [length, step] of [
      [SECTOR, SECTOR],
      [SECTOR, 2 * SECTOR],
      [64 * KIB, 64 * KIB],
    ] as const) {
      const told: Told[] = [
        { kind: 'data', offset: 0, length: 600 * KIB },
        { kind: 'section', offset: MIB, length: MIB },
        ...parts(MIB, length, step),
        { kind: 'data', offset: 2 * MIB, length: 4096 },
      ];
      const { gathered } = await gather(told);
      expect(gathered.flat()).toEqual(told.map(describeTold));
      const withSection = gathered.find((batch) => batch.some((entry) => entry.startsWith('section'))) ?? [];
      const first = withSection.findIndex((entry) => entry.startsWith('section'));
      expect(withSection.slice(first, first + 1 + MIB / step)).toHaveLength(1 + MIB / step);
    }
  });

  it('end at a mark, after the items that come apart, and where they cover 4 MiB', async () => {
    const proof = (offset: number): Told => ({ kind: 'proof', offset, length: SECTOR });
    const zero = (offset: number, length: number): Told => ({ kind: 'zero', offset, length });
    const pass: Told = { kind: 'next-pass' };
    const told = [proof(0), proof(MIB), zero(0, SECTOR), pass, zero(0, 3 * MIB), zero(3 * MIB, 2 * MIB)];
    const { gathered } = await gather(told, { apart: 2 });
    expect(gathered.map((batch) => batch.length)).toEqual([2, 1, 1, 1, 1]);
  });

  it('end where they have all the entries that there is room for', async () => {
    const told = Array.from({ length: 5000 }, (_, index): Told => {
      return { kind: 'zero', offset: index * SECTOR, length: SECTOR };
    });
    const { gathered } = await gather(told);
    expect(gathered.flat()).toEqual(told.map(describeTold));
    expect(Math.max(...gathered.map((batch) => batch.length))).toBe(BATCH_ENTRIES);
  });

  it('have no more compressed blocks than fit in 1 MiB decompressed, and keep their bytes where a section moves', async () => {
    const filler = new BatchFiller(new Lender().lend);
    const stored = async (offset: number, length: number, size: number) => {
      const data = await filler.lend(size);
      data.bytes.fill(`${offset}`);
      return { kind: 'packed', offset, length, data, codec: 'zlib', position: offset } as const;
    };
    async function* items(): AsyncGenerator<PackedItem> {
      for (const offset of [0, MIB]) yield await stored(offset, MIB, 2000);
      yield { kind: 'section', offset: 2 * MIB, length: MIB, oldCrc: 1, newCrc: 2 };
      // The third of these no longer fits in the memory of the first block.
      for (const part of [0, 1, 2]) {
        yield await stored(2 * MIB + part * 341 * KIB, 341 * KIB, 341 * KIB - 40);
      }
    }
    const seen: number[][] = [];
    for await (const item of gatherBatches(items(), filler)) {
      if (!('batch' in item)) continue;
      seen.push([...item.packed.keys()]);
      for (const [entry, { offset, data }] of item.packed) {
        expect(item.batch.offsetAt(entry)).toBe(offset);
        expect(data.bytes).toBeBytes(Buffer.alloc(data.bytes.length, `${offset}`));
        expect(data.bytes.byteOffset, 'where the batch has it').toBe(
          (item.batch.memory?.bytes.byteOffset ?? NaN) + item.batch.startAt(entry),
        );
      }
    }
    expect(seen).toEqual([[0], [0], [1, 2, 3]]);
  });

  it('share memory: many small ones need no megabyte each', async () => {
    let most = 0;
    const lender = new Lender();
    const filler = new BatchFiller(lender.lend);
    const told = Array.from({ length: 64 }, (_, index): Told[] => [
      { kind: 'data', offset: index * 4096, length: 4096 },
      { kind: 'next-pass' },
    ]).flat();
    const held: BlockBatch[] = [];
    for await (const item of gatherBatches(read(told, filler), filler)) {
      if ('batch' in item) held.push(item.batch);
      most = Math.max(most, lender.outstanding);
    }
    expect(held).toHaveLength(64);
    expect(most).toBe(1);
    for (const batch of held) batch.release();
    expect(lender.outstanding).toBe(0);
  });
});

describe('a batch', () => {
  it('gives its memory back with the last release', () => {
    let released = 0;
    const batch = new BlockBatch({ bytes: Buffer.alloc(512), release: () => (released += 1) });
    batch.hold();
    batch.release();
    expect(released).toBe(0);
    batch.release();
    expect(released).toBe(1);
    expect(() => {
      batch.release();
    }).toThrow('released already');
    expect(released).toBe(1);
  });

  it('comes apart into blocks with their proofs and sections with their parts, which hold its memory', () => {
    let released = 0;
    const batch = new BlockBatch({ bytes: Buffer.from('firstothers'), release: () => (released += 1) });
    batch.add({ kind: 'proof', offset: 0, length: 5, crc: 1 });
    batch.add({ kind: 'data', offset: 0, length: 5, start: 0, crc: 2 });
    batch.add({ kind: 'section', offset: 10, length: 20, crc: 3, newCrc: 4 });
    batch.add({ kind: 'data', offset: 10, length: 6, start: 5, crc: 5 });
    batch.add({ kind: 'zero', offset: 25, length: 5 });
    batch.add({ kind: 'zero', offset: 30, length: 5 });
    batch.add({ kind: 'section', offset: 40, length: 5, crc: 6, newCrc: 7 });
    const parts = [...batch.parts()];
    expect(parts.map((part) => part.count)).toEqual([2, 3, 1, 1]);
    expect(parts.flatMap(entriesOf)).toHaveLength(7);
    expect(parts[0]?.bytesAt(1).toString()).toBe('first');
    expect(parts[1]?.bytesAt(1).toString()).toBe('others');
    expect([parts[1]?.crcAt(0), parts[1]?.newCrcAt(0)]).toEqual([3, 4]);
    for (const part of parts.slice(0, -1)) part.release();
    expect(released).toBe(0);
    for (const part of parts.slice(-1)) part.release();
    expect(released).toBe(1);
  });
});
