import fc from 'fast-check';
import { setImmediate as later } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { ByteSink } from '../../src/bytes/byte-channel.js';
import { crc32 } from '../../src/bytes/contents.js';
import { BlockBatch, type Entry } from '../../src/stream/batches/batch.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { Collector, feed, readAll, someHeader } from '../support/scenes/feed.js';
import { framesOf } from '../support/scenes/reframe.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const SECTOR = 512;
const VOLUME = 1024 * MIB;
/** The memory of all batches. */
const MEMORY = Buffer.alloc(MIB);
for (let at = 0; at < MIB; at += 4) MEMORY.writeUInt32BE(Math.imul(at, 0x9e37_79b1) >>> 0, at);

/** Takes a piece's bytes only when it resolves, up to which the piece must stay as it is. */
class LateSink implements ByteSink {
  readonly copies: Buffer[] = [];
  ended = false;
  private last = Promise.resolve();

  /** @param during called while a piece is written */
  constructor(private readonly during: () => void = () => undefined) {}

  get bytes(): Buffer {
    return Buffer.concat(this.copies);
  }

  write(piece: Uint8Array): Promise<void> {
    this.last = this.last.then(async () => {
      await later();
      this.during();
      await later();
      this.copies.push(Buffer.from(piece));
    });
    return this.last;
  }

  end(): Promise<void> {
    this.ended = true;
    return Promise.resolve();
  }
}

/** Extents in sectors, with a gap before each; a section has parts. */
const extent = fc.record({
  gap: fc.nat(3),
  sectors: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constantFrom(31, 32, 33, 256)),
});
const block = fc.record({
  kind: fc.constantFrom('data' as const, 'data' as const, 'zero' as const, 'discard' as const),
  isProved: fc.boolean(),
});
const piece = fc.tuple(extent, fc.oneof(block, fc.array(fc.tuple(extent, block), { maxLength: 5 })));
const batches = fc.array(fc.array(piece, { maxLength: 300 }), { minLength: 1, maxLength: 3 });
type Piece = typeof piece extends fc.Arbitrary<infer T> ? T : never;

/** The entries of a batch that begins at `from`. */
function entriesOf(pieces: readonly Piece[], from: number): Entry[] {
  const entries: Entry[] = [];
  let end = from;
  const add = (kind: 'data' | 'zero' | 'discard', offset: number, length: number) => {
    if (kind !== 'data') entries.push({ kind, offset, length });
    else {
      const start = offset % (MIB - length + 1);
      const crc = crc32(MEMORY.subarray(start, start + length));
      entries.push({ kind, offset, length, start, crc });
    }
  };
  for (const [{ gap, sectors }, what] of pieces) {
    const offset = end + gap * SECTOR;
    const length = sectors * SECTOR;
    end = offset + length;
    if (!Array.isArray(what)) {
      if (what.isProved) entries.push({ kind: 'proof', offset, length, crc: sectors * 77 });
      add(what.kind, offset, length);
      continue;
    }
    entries.push({ kind: 'section', offset, length, crc: sectors, newCrc: sectors + 1 });
    let at = offset;
    for (const [part, { kind }] of what) {
      at += part.gap * SECTOR;
      const partLength = Math.min(part.sectors * SECTOR, end - at);
      if (partLength > 0) add(kind, at, partLength);
      at += part.sectors * SECTOR;
    }
  }
  return entries;
}

function batchOfEntries(entries: readonly Entry[]): BlockBatch {
  const batch = new BlockBatch({ bytes: MEMORY, release: () => undefined });
  for (const entry of entries) batch.add(entry);
  return batch;
}

async function writeEach(entries: readonly Entry[], writer: FrameWriter): Promise<void> {
  for (const { kind, offset, length, crc = 0, newCrc = 0, start = 0 } of entries) {
    if (kind === 'data') await writer.data(offset, MEMORY.subarray(start, start + length), { crc });
    else if (kind === 'proof') await writer.prove({ offset, length, crc });
    else if (kind === 'section') await writer.openSection({ offset, length, oldCrc: crc, newCrc });
    else await writer[kind](offset, length);
  }
}

/** Data of 4 KiB blocks, each with a proof. */
function manyBlocks(count: number): Entry[] {
  return Array.from({ length: count }, (_, index) => {
    const place = { offset: index * 4096, length: 4096 };
    const start = (index % 256) * 4096;
    const crc = crc32(MEMORY.subarray(start, start + 4096));
    return [
      { kind: 'proof', ...place, crc: index } as const,
      { kind: 'data', ...place, start, crc } as const,
    ];
  }).flat();
}

async function started(sink: ByteSink, indexed = false): Promise<FrameWriter> {
  const writer = new FrameWriter(sink, { indexed });
  await writer.start(someHeader(VOLUME));
  return writer;
}

describe('a batch', () => {
  it('becomes the bytes that its entries become one by one, however late a sink takes them', async () => {
    await fc.assert(
      fc.asyncProperty(batches, fc.boolean(), fc.nat(3), async (all, indexed, skipped) => {
        const [sink, late] = [new Collector(), new LateSink()];
        const [single, together] = [await started(sink, indexed), await started(late, indexed)];
        for (const [index, pieces] of all.entries()) {
          const entries = entriesOf(pieces, index * 128 * MIB);
          const batch = batchOfEntries(entries);
          batch.first = Math.min(skipped, entries.length);
          await writeEach(entries.slice(batch.first), single);
          await together.batch(batch);
          batch.release();
          expect(late.bytes.length).toBe(together.bytesWritten);
        }
        expect(together.frameCount).toBe(single.frameCount);
        expect(await together.finish()).toEqual(await single.finish());
        expect(late.bytes).toBeBytes(sink.bytes);
        expect((await readAll(feed(late.bytes))).outcome).toBe('ok');
      }),
      { numRuns: 60 },
    );
  });

  it('of small blocks comes in few pieces, and in no long one', async () => {
    const sink = new Collector();
    const writer = await started(sink);
    const before = sink.pieces.length;
    await writer.batch(batchOfEntries(manyBlocks(256)));
    const lengths = sink.pieces.slice(before).map(({ length }) => length);
    expect(lengths.length).toBeLessThanOrEqual(6);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(256 * KIB);
  });

  it('hands large data over as it is, after what was gathered before it', async () => {
    const sink = new Collector();
    const writer = await started(sink);
    const before = sink.pieces.length;
    const small = { kind: 'data', offset: 0, length: 4096, crc: crc32(MEMORY.subarray(0, 4096)) } as const;
    const [start, length] = [65_536, 16 * KIB];
    const crc = crc32(MEMORY.subarray(start, start + length));
    const large = { kind: 'data', offset: 8192, length, start, crc } as const;
    await writer.batch(batchOfEntries([small, large, { kind: 'zero', offset: 65_536, length: 512 }]));
    const pieces = sink.pieces.slice(before);
    expect(pieces).toHaveLength(3);
    expect(pieces[1]).toMatchObject({ buffer: MEMORY.buffer, byteOffset: MEMORY.byteOffset + start, length });
  });

  it('out of order is a fault of ours: the block that is wrong is not written, nor anything after it', async () => {
    const sink = new Collector();
    const writer = await started(sink);
    const entries = [4096, 8192, 4096, 65_536].map((offset) => ({
      kind: 'zero' as const,
      offset,
      length: 512,
    }));
    await expect(writer.batch(batchOfEntries(entries))).rejects.toThrow('is not after the one before it');
    await writer.finish();
    const { items } = await readAll(feed(sink.bytes));
    expect(items).toEqual(['zero 4096 512', 'zero 8192 512']);
  });
});

describe('a keepalive', () => {
  const typesOf = (stream: Buffer) => framesOf(stream).map((at) => String.fromCharCode(stream[at + 4] ?? 0));

  it('does not come while a batch is written', async () => {
    const beats: Promise<void>[] = [];
    let writer: FrameWriter | null = null;
    const sink = new LateSink(() => {
      if (writer !== null) beats.push(writer.heartbeat());
    });
    writer = await started(sink);
    beats.length = 0;
    await writer.batch(batchOfEntries(manyBlocks(256)));
    expect(beats.length).toBeGreaterThan(3);
    await Promise.all(beats);
    expect(typesOf(sink.bytes)).not.toContain('K');
    await writer.heartbeat();
    expect(typesOf(sink.bytes).at(-1)).toBe('K');
    await writer.finish();
    expect((await readAll(feed(sink.bytes))).outcome).toBe('ok');
  });

  it('comes whole, and first, if the next call does not wait for it', async () => {
    const sink = new LateSink();
    const writer = await started(sink);
    const beat = writer.heartbeat();
    const second = writer.heartbeat();
    await writer.batch(batchOfEntries(manyBlocks(2)));
    await Promise.all([beat, second]);
    await writer.finish();
    expect(typesOf(sink.bytes)).toEqual(['H', 'K', 'P', 'D', 'P', 'D', 'E']);
    expect((await readAll(feed(sink.bytes))).outcome).toBe('ok');
  });
});

describe('a sink that fails in the middle of a batch', () => {
  it('fails the batch and all later calls, and gets nothing more', async () => {
    const fault = new Error('the line broke');
    const sink = new Collector();
    let left = 4;
    const failing: ByteSink = {
      write: async (bytes) => {
        await later();
        left -= 1;
        // Only once: what was lost with it is lost, whatever the sink says later.
        if (left === 0) throw fault;
        await sink.write(bytes);
      },
      end: () => sink.end(),
    };
    const writer = await started(failing);
    await expect(writer.batch(batchOfEntries(manyBlocks(256)))).rejects.toBe(fault);
    const { length } = sink.bytes;
    expect(length).toBeGreaterThan(200 * KIB);
    await expect(writer.batch(batchOfEntries([{ kind: 'zero', offset: MIB, length: 512 }]))).rejects.toBe(
      fault,
    );
    await expect(writer.zero(2 * MIB, 512)).rejects.toBe(fault);
    await expect(writer.heartbeat()).rejects.toBe(fault);
    await expect(writer.finish()).rejects.toBe(fault);
    expect(sink.bytes.length).toBe(length);
    expect(sink.ended).toBe(false);
    expect((await readAll(feed(sink.bytes))).outcome).toBe('TRUNCATED');
  });
});
