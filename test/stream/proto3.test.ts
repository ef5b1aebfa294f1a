import { describe, expect, test } from 'vitest';
import { openIncomingStream } from '../../src/stream/incoming-stream.js';
import type { BlockWriter } from '../../src/stream/block-writer.js';
import { Proto3Writer } from '../../src/stream/proto3.js';
import { Collector, feed, Lender, readAll, someHeader } from './feed.js';

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
    expect(sink.bytes.subarray(17 + 12, 17 + 12 + MIB).every((byte) => byte === 0)).toBe(true);
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
    for await (const item of incoming.blocks) {
      if (item.kind !== 'data') throw new Error(`a ${item.kind} in PROTO[3]`);
      expect(item.offset).toBe(next);
      next += item.length;
      seen.push(Buffer.from(item.data.bytes));
      item.data.release();
    }
    expect(Buffer.concat(seen).equals(bytes)).toBe(true);
    expect(lender.longest).toBe(MIB);
  });
});
