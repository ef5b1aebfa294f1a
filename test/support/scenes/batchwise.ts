import { expect } from 'vitest';
import { LvmsyncError } from '../../../src/errors.js';
import { BlockBatch } from '../../../src/stream/batches/batch.js';
import { FrameWriter } from '../../../src/stream/frame-writer.js';
import { openIncomingStream } from '../../../src/stream/incoming-stream.js';
import { Collector, describeItem, feed, Lender, someHeader } from './feed.js';

const KIB = 1024;
export const VOLUME = 64 * KIB;

/** What came out, batch by batch and mark by mark, then the error, and where it was. */
export async function readBatches(bytes: Buffer, ...lengths: readonly number[]): Promise<string[][]> {
  const lender = new Lender();
  const found: string[][] = [];
  try {
    const { blocks } = await openIncomingStream(feed(bytes, ...lengths), lender.lend, 'test stream');
    for await (const item of blocks) {
      if (!(item instanceof BlockBatch)) {
        found.push([describeItem(item)]);
        continue;
      }
      const entries: string[] = [];
      for (let entry = item.first; entry < item.count; entry++)
        entries.push(describeItem(item.itemAt(entry)));
      found.push(entries);
      item.release();
    }
    found.push(['whole']);
  } catch (error) {
    if (!(error instanceof LvmsyncError)) throw error;
    found.push([error.code, error.message]);
  }
  expect(lender.outstanding).toBe(0);
  return found;
}

/**
 * A stream with blocks that have proofs or lie in sections, zeroes, a discard, a checkpoint, a keepalive, and a second
 * pass with a block of 20 KiB: frames H P D S D Z C U K N D E.
 */
export async function writeMixedStream(): Promise<Buffer> {
  const sink = new Collector();
  const writer = new FrameWriter(sink);
  await writer.start(someHeader(VOLUME));
  await writer.prove({ offset: 0, length: 512, crc: 0x01020304 });
  await writer.data(0, Buffer.alloc(512, 'first'));
  await writer.openSection({ offset: 4096, length: 4096, oldCrc: 0x0a0b0c0d, newCrc: 0xf1f2f3f4 });
  await writer.data(4608, Buffer.alloc(512, 'part'));
  await writer.zero(5632, 512);
  await writer.checkpoint(Buffer.from('a place'));
  await writer.discard(8192, 4096);
  await writer.heartbeat();
  await writer.nextPass();
  await writer.data(16 * KIB, Buffer.alloc(20 * KIB, 'longer than a piece'));
  await writer.finish();
  return sink.bytes;
}
