import { describe, expect, test } from 'vitest';
import type { BlockWriter } from '../../src/stream/block-writer.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { Collector, feed, readAll, someHeader } from '../support/scenes/feed.js';

const VOLUME = 8 * 1024 * 1024;

async function started(): Promise<{ sink: Collector; writer: FrameWriter }> {
  const sink = new Collector();
  const writer = new FrameWriter(sink);
  await writer.start(someHeader(VOLUME));
  return { sink, writer };
}

describe('a frame writer', () => {
  test('hands large data over as it is, without a copy', async () => {
    const { sink, writer } = await started();
    const bytes = Buffer.alloc(1024 * 1024, 7);
    await writer.data(0, bytes);
    expect(sink.pieces.some((piece) => piece.buffer === bytes.buffer && piece.length === bytes.length)).toBe(
      true,
    );
  });

  test('sends a small block in one piece', async () => {
    const { sink, writer } = await started();
    const before = sink.pieces.length;
    await writer.data(0, Buffer.alloc(4096));
    expect(sink.pieces.length - before).toBe(1);
  });

  test('counts what it wrote', async () => {
    const { sink, writer } = await started();
    await writer.data(0, Buffer.alloc(512, 1));
    await writer.zero(1024, 2048);
    await writer.nextPass();
    await writer.discard(0, 4096);
    const totals = await writer.finish();
    expect(totals).toEqual({ frames: 5, dataBytes: 512, zeroBytes: 2048, discardBytes: 4096 });
    expect(writer.bytesWritten).toBe(sink.bytes.length);
  });

  test('leaves a truncated stream, and the sink open, when it is abandoned', async () => {
    const { sink, writer } = await started();
    await writer.data(0, Buffer.alloc(512, 1));
    expect(sink.ended).toBe(false);
    expect((await readAll(feed(sink.bytes))).outcome).toBe('TRUNCATED');
  });

  test('passes on what its sink throws', async () => {
    const fault = new Error('the line broke');
    const writer = new FrameWriter({ write: () => Promise.reject(fault), end: () => Promise.resolve() });
    await expect(writer.start(someHeader(VOLUME))).rejects.toBe(fault);
  });

  test.each<[string, (writer: BlockWriter) => Promise<void>]>([
    ['that descends', (writer) => writer.zero(0, 512)],
    ['that overlaps the one before', (writer) => writer.data(4096 + 512, Buffer.alloc(512))],
    ['of no bytes', (writer) => writer.data(65536, Buffer.alloc(0))],
    ['of more than 1 MiB', (writer) => writer.data(65536, Buffer.alloc(1024 * 1024 + 512))],
    ['past the volume', (writer) => writer.zero(VOLUME - 512, 1024)],
    ['that starts within a sector', (writer) => writer.zero(65536 + 100, 412)],
    ['that ends within a sector', (writer) => writer.zero(65536, 100)],
  ])('refuses, as a fault of ours, a block %s, and writes nothing of it', async (_which, write) => {
    const { sink, writer } = await started();
    await writer.zero(4096, 1024);
    const before = sink.bytes.length;
    await expect(write(writer)).rejects.toThrow(/block/);
    expect(sink.bytes.length).toBe(before);
  });

  test('writes names that a terminal could choke on so that a reader takes them', async () => {
    const sink = new Collector();
    const writer = new FrameWriter(sink);
    const source = '/tmp/odd\n\x1b[31mname';
    await writer.start({ ...someHeader(VOLUME), names: { source } });
    await writer.finish();
    const { outcome, header } = await readAll(feed(sink.bytes));
    expect(outcome).toBe('ok');
    expect(header?.names.source).toBe('/tmp/odd\ufffd\ufffd[31mname');
  });
});
