import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { brotliCodec, zlibCodec } from '../../src/codec/built-in-codecs.js';
import { CODEC_IDS, type Codec } from '../../src/codec/codec.js';
import { ALWAYS, type CompressionJudge, type SentBatch } from '../../src/engine/compression-judge.js';
import type { OutgoingBatch } from '../../src/engine/outgoing-batches.js';
import { BlockPacker } from '../../src/engine/pack-blocks.js';
import { crc32 } from '../../src/bytes/contents.js';
import { BlockBatch } from '../../src/stream/batches/batch.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { Collector, feed, Lender, readAll, someHeader } from '../support/scenes/feed.js';

const BLOCK = 65_536;
const MIB = 1024 * 1024;
/** Of as many bytes of `text `, again and again. */
const crcOf = (length: number) => crc32(Buffer.alloc(length, 'text '));
const text = (length: number) => Buffer.alloc(length, 'what is written on volumes, mostly; ');

/** Each of the contents in a batch of its own. */
async function* batchesOf(contents: readonly Buffer[], lender: Lender): AsyncGenerator<OutgoingBatch> {
  for (const [index, bytes] of contents.entries()) {
    const memory = await lender.lend(bytes.length);
    memory.bytes.set(bytes);
    const batch = new BlockBatch(memory);
    const extent = { offset: index * BLOCK, length: bytes.length };
    batch.add({ kind: 'data', ...extent, start: 0, crc: crc32(bytes) });
    const end = extent.offset + extent.length;
    yield { batch, pieces: 1, sections: [], coveredBytes: bytes.length, end };
  }
}

/** Sends blocks; returns the stream, and what the judge heard. */
async function send(contents: readonly Buffer[], codec: Codec = zlibCodec, wantsPacked = true) {
  const lender = new Lender();
  const heard: SentBatch[] = [];
  const judge: CompressionJudge = { wantsPacked, heard: (sent) => heard.push(sent) };
  const packer = new BlockPacker(codec, 1, judge, () => 0);
  const sink = new Collector();
  const writer = new FrameWriter(sink);
  try {
    await writer.start(someHeader(contents.length * BLOCK));
    for await (const ready of packer.makeReady(batchesOf(contents, lender))) {
      try {
        await packer.send(ready, writer);
      } finally {
        ready.batch.release();
      }
    }
    await writer.finish();
  } finally {
    expect(lender.outstanding).toBe(0);
  }
  return { stream: sink.bytes, heard, totals: packer.totals };
}

/** The codecs of a stream's data frames. */
function codecsOf(stream: Buffer): number[] {
  const codecs: number[] = [];
  for (let at = 17; at < stream.length; at += 18 + stream.readUInt32BE(at)) {
    if (stream[at + 4] === 'D'.charCodeAt(0)) codecs.push(stream.readUInt8(at + 14 + 12));
  }
  return codecs;
}

describe('blocks on their way out', () => {
  it('go compressed only where that saves a sixteenth', async () => {
    const noise = randomBytes(BLOCK);
    const justEnough = Buffer.concat([noise.subarray(0, BLOCK - 5000), Buffer.alloc(5000)]);
    const notEnough = Buffer.concat([noise.subarray(0, BLOCK - 3000), Buffer.alloc(3000)]);
    const { stream, totals, heard } = await send([text(BLOCK), noise, justEnough, notEnough, text(512)]);
    expect(codecsOf(stream)).toEqual([1, 0, 1, 0, 1]);
    const items = [text(BLOCK), noise, justEnough, notEnough, text(512)];
    expect((await readAll(feed(stream))).items).toHaveLength(items.length);
    expect(totals).toMatchObject({ blocks: 3, rawBytes: 2 * BLOCK + 512 });
    expect(heard.map(({ rawBytes }) => rawBytes)).toEqual(items.map(({ length }) => length));
    expect(heard[1]).toMatchObject({ wasTried: true, sentBytes: BLOCK });
    expect(heard[0]?.sentBytes).toBeLessThan(BLOCK / 50);
  });

  it('go as they are where the judge says so', async () => {
    const { stream, heard } = await send([text(BLOCK), text(BLOCK)], zlibCodec, false);
    expect(codecsOf(stream)).toEqual([0, 0]);
    expect(heard[0]).toMatchObject({ wasTried: false, sentBytes: BLOCK });
  });

  it('come out of a reader as they went in, in order, whichever was compressed first', async () => {
    const contents = Array.from({ length: 40 }, (_, i) =>
      i % 3 === 0 ? randomBytes(BLOCK) : Buffer.alloc(BLOCK, `block ${i} `),
    );
    const asTheyAre = await readAll(feed((await send(contents, zlibCodec, false)).stream));
    const packed = await send(contents, brotliCodec);
    expect(await readAll(feed(packed.stream, 1000))).toEqual(asTheyAre);
    expect(new Set(codecsOf(packed.stream))).toEqual(new Set([0, CODEC_IDS.brotli]));
  });

  it('give their memory back where a codec fails', async () => {
    let calls = 0;
    const broken: Codec = {
      ...zlibCodec,
      compress: (...words) => {
        calls += 1;
        return calls === 6 ? Promise.reject(new Error('no memory')) : zlibCodec.compress(...words);
      },
    };
    const contents = Array.from({ length: 20 }, () => text(BLOCK));
    await expect(send(contents, broken)).rejects.toThrow('no memory');
  });

  it('take no more memory than a few blocks, however many there are', async () => {
    const lender = new Lender();
    let most = 0;
    const packer = new BlockPacker(zlibCodec, 1, ALWAYS, () => 0);
    const contents = Array.from({ length: 50 }, () => text(BLOCK));
    for await (const ready of packer.makeReady(batchesOf(contents, lender))) {
      await new Promise(setImmediate);
      most = Math.max(most, lender.outstanding);
      ready.batch.release();
    }
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(5);
    expect(lender.outstanding).toBe(0);
  });

  it('go piece by piece until the line is known to be fast, and again once it is slow', async () => {
    const lender = new Lender();
    let now = 0;
    let waitMs = 0;
    const packer = new BlockPacker(zlibCodec, 1, { wantsPacked: false, heard: () => undefined }, () => now);
    const sink = new Collector();
    const write = sink.write.bind(sink);
    sink.write = async (piece) => {
      now += waitMs;
      await write(piece);
    };
    const writer = new FrameWriter(sink);
    const [piece, count] = [256 * 1024, 40];
    await writer.start(someHeader(count * MIB));
    /** A MiB in four pieces, the last of which is a section, with a discard in between. */
    async function* batches(): AsyncGenerator<OutgoingBatch> {
      for (let at = 0; at < count * MIB; at += MIB) {
        const memory = await lender.lend(MIB);
        memory.bytes.fill('text ');
        const batch = new BlockBatch(memory);
        const data = (index: number, length = piece) => {
          batch.add({
            kind: 'data',
            offset: at + index * piece,
            length,
            start: index * piece,
            crc: crcOf(length),
          });
        };
        data(0);
        batch.add({ kind: 'discard', offset: at + piece, length: piece });
        batch.add({ kind: 'proof', offset: at + 2 * piece, length: piece, crc: 1 });
        data(2);
        batch.add({ kind: 'section', offset: at + 3 * piece, length: piece, crc: 1, newCrc: 2 });
        data(3, 4096);
        yield { batch, pieces: 3, sections: [2], coveredBytes: MIB, end: at + MIB };
      }
    }
    const sums: number[][] = [];
    const sizes: number[] = [];
    for await (const ready of packer.makeReady(batches())) {
      const { batch, pieces, sections, coveredBytes, end } = ready;
      if (end !== null && end > 30 * MIB) waitMs = 1000;
      await packer.send(ready, writer);
      sums.push([pieces, sections.length, coveredBytes, end ?? NaN]);
      sizes.push(batch.count);
      batch.release();
    }
    await writer.finish();
    expect(sums.slice(0, 4)).toEqual([
      [1, 0, piece, piece],
      [0, 0, piece, NaN],
      [1, 0, piece, 3 * piece],
      [1, 1, piece, MIB],
    ]);
    expect(sizes.slice(0, 4)).toEqual([1, 1, 2, 2]);
    const total = (column: number) => sums.reduce((sum, each) => sum + (each[column] ?? NaN), 0);
    expect([total(0), total(1), total(2)]).toEqual([3 * count, count, count * MIB]);
    // Whole in the middle, in parts again at the end.
    expect(sizes).toContain(6);
    expect(sizes.at(-1)).toBe(2);
    expect((await readAll(feed(sink.bytes))).items.length).toBeGreaterThan(0);
    expect(lender.outstanding).toBe(0);
  });
});
