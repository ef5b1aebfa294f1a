import { describe, expect, test } from 'vitest';
import { eachItem } from '../../src/stream/batches/batch.js';
import { TruncatedStreamError } from '../../src/errors.js';
import type { BlockWriter } from '../../src/stream/block-writer.js';
import { openIncomingStream } from '../../src/stream/incoming-stream.js';
import { Proto3Writer } from '../../src/stream/proto3.js';
import { Collector, feed, Lender, readAll, someHeader } from '../support/scenes/feed.js';

const MIB = 1024 * 1024;

describe('PROTO[3]', () => {
  test('writes its line, then offset, length and bytes', async () => {
    const sink = new Collector();
    const writer: BlockWriter = new Proto3Writer(sink);
    await writer.start(someHeader(0x2_0000_0000));
    await writer.data(0x1_0000_0200, Buffer.from('abc'));
    expect(sink.bytes.toString('latin1')).toBe('lvmsync PROTO[3]\n\0\0\0\x01\0\0\x02\0\0\0\0\x03abc');
    expect(await writer.finish()).toEqual({ frames: 1, dataBytes: 3, zeroBytes: 0, discardBytes: 0 });
    expect(sink.ended).toBe(true);
  });

  test('writes zeroes of any length as data', async () => {
    const sink = new Collector();
    const writer: BlockWriter = new Proto3Writer(sink);
    await writer.start(someHeader(4 * MIB));
    await writer.zero(512, 2 * MIB + 100);
    await writer.finish();
    const { items } = await readAll(feed(sink.bytes, 65_536));
    const extents = items.map((item) => item.split(' ').slice(0, 3).join(' '));
    expect(extents).toEqual([`data 512 ${MIB}`, `data ${512 + MIB} ${MIB}`, `data ${512 + 2 * MIB} 100`]);
    expect(sink.bytes.subarray(17 + 12, 17 + 12 + MIB)).toBeBytes(Buffer.alloc(MIB));
  });

  test('reads a long record in blocks of at most 1 MiB, with all of its bytes in order', async () => {
    const bytes = Buffer.from(Uint8Array.from({ length: 2 * MIB + 700 }, (_, index) => index % 251));
    const record = Buffer.alloc(12);
    record.writeBigUInt64BE(4096n, 0);
    record.writeUInt32BE(bytes.length, 8);
    const stream = Buffer.concat([Buffer.from('lvmsync PROTO[3]\n'), record, bytes]);
    const lender = new Lender();
    const incoming = await openIncomingStream(feed(stream, 100_000), lender.lend, 'test stream');
    const seen: Buffer[] = [];
    let next = 4096;
    for await (const item of eachItem(incoming.blocks)) {
      if (item.kind !== 'data') throw new Error(`a ${item.kind} in PROTO[3]`);
      expect(item.offset).toBe(next);
      next += item.length;
      seen.push(Buffer.from(item.data.bytes));
      item.data.release();
    }
    expect(Buffer.concat(seen)).toBeBytes(bytes);
    expect(lender.longest).toBe(MIB);
  });
});

describe('the last record of a PROTO[3] stream, of which only a part is there', () => {
  const start = 3 * MIB;
  /** A whole record, then one that announces `announced` bytes and has the first `there` of them. */
  const cut = (announced: number, there: number, before = 512) => {
    const record = (offset: number, length: number) => {
      const header = Buffer.alloc(12);
      header.writeBigUInt64BE(BigInt(offset), 0);
      header.writeUInt32BE(length, 8);
      return header;
    };
    const whole = Buffer.concat([record(0, before), Buffer.alloc(before, 1)]);
    const last = Buffer.concat([record(start, announced), Buffer.alloc(there, 2)]);
    return Buffer.concat([Buffer.from('lvmsync PROTO[3]\n'), whole, last]);
  };
  const read = async (stream: Buffer, size: number | null) => {
    const notices: string[] = [];
    const target =
      size === null ? null : { path: '/dev/t', size, notice: (line: string) => notices.push(line) };
    const lender = new Lender();
    const { blocks } = await openIncomingStream(feed(stream, 10_000), lender.lend, 'test stream', target);
    const found: number[][] = [];
    for await (const item of eachItem(blocks)) {
      if (item.kind !== 'data') throw new Error(`a ${item.kind} in PROTO[3]`);
      expect(item.data.bytes.length).toBe(item.length);
      found.push([item.offset, item.length, item.data.bytes.at(-1) ?? 0]);
      item.data.release();
    }
    return { found, notices };
  };

  test.each([
    ['in a chunk', 65_536, 1536, [[start, 1536, 2]]],
    [
      'in a long one',
      4 * MIB,
      MIB + 512,
      [
        [start, MIB, 2],
        [start + MIB, 512, 2],
      ],
    ],
    ['between two blocks of a long one', 4 * MIB, MIB, [[start, MIB, 2]]],
  ])(
    'is taken where the target ends %s just there, and said to be',
    async (_where, announced, there, last) => {
      const { found, notices } = await read(cut(announced, there), start + there);
      expect(found).toEqual([[0, 512, 1], ...last]);
      expect(notices).toEqual([
        expect.stringMatching(
          new RegExp(
            `^test stream: its last record announces ${announced} bytes at byte ${start} and has ${there}, .*/dev/t`,
          ),
        ),
      ]);
    },
  );

  test.each([
    ['the target ends a sector later', cut(65_536, 1536), start + 2048],
    ['the target ends a sector earlier', cut(65_536, 1536), start + 1024],
    ['all that it announces lies within the target', cut(65_536, 1536), start + 65_536],
    ['the target ends where it begins', cut(65_536, 0), start],
    ['the target ends a block and more before', cut(4 * MIB, 2 * MIB + MIB / 2), start + MIB + MIB / 2],
    ['nobody knows the target', cut(65_536, 1536), null],
    ['it stops within its header', cut(65_536, 1536).subarray(0, 17 + 12 + 512 + 7), start],
  ])('is cut short where %s', async (_why, stream, size) => {
    await expect(read(stream, size)).rejects.toThrow(TruncatedStreamError);
  });

  test('is whole with what lies past the target’s end, which whoever writes it refuses', async () => {
    const { found, notices } = await read(cut(65_536, 65_536), start + 1536);
    expect({ last: found.at(-1), notices }).toEqual({ last: [start, 65_536, 2], notices: [] });
  });
});
