import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BlockWriter } from '../../src/stream/block-writer.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { Proto3Writer } from '../../src/stream/proto3.js';
import { Collector, feed, readAll, someHeader } from '../support/scenes/feed.js';

const SECTOR = 512;

/** Sectors left out before an extent, sectors in it, what it is, and a byte to fill it with. */
const step = fc.record({
  gap: fc.nat(3),
  sectors: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constant(64)),
  kind: fc.constantFrom('data' as const, 'zero' as const, 'discard' as const),
  fill: fc.integer({ min: 0, max: 255 }),
});
const passes = fc.array(fc.array(step, { maxLength: 6 }), { minLength: 1, maxLength: 3 });
const pieces = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 });
/** Bytes that the volume's last sector lacks. */
const missing = fc.nat(SECTOR - 1);

type Steps = readonly (readonly {
  gap: number;
  sectors: number;
  kind: 'data' | 'zero' | 'discard';
  fill: number;
}[])[];

function sizeFor(all: Steps, missingBytes: number): number {
  const sectors = all.map((pass) => pass.reduce((sum, { gap, sectors }) => sum + gap + sectors, 0));
  return Math.max(1, ...sectors) * SECTOR - missingBytes;
}

function dataItem(offset: number, bytes: Uint8Array): string {
  return `data ${offset} ${bytes.length} ${crc32(bytes).toString(16).padStart(8, '0')}`;
}

test('what a writer is given comes out of a reader, however the bytes are cut into pieces', async () => {
  await fc.assert(
    fc.asyncProperty(passes, missing, pieces, async (all, missingBytes, lengths) => {
      const volumeSize = sizeFor(all, missingBytes);
      const sink = new Collector();
      const items = await write(all, volumeSize, new FrameWriter(sink));
      const header = someHeader(volumeSize);
      expect(await readAll(feed(sink.bytes, ...lengths))).toEqual({
        outcome: 'ok',
        error: null,
        protocol: 4,
        header,
        items,
      });
    }),
    { numRuns: 150 },
  );
});

test('through PROTO[3] the same bytes come out, zeroes and discards as data', async () => {
  await fc.assert(
    fc.asyncProperty(passes, missing, pieces, async (all, missingBytes, lengths) => {
      const sink = new Collector();
      const items = await write(all, sizeFor(all, missingBytes), new Proto3Writer(sink));
      const asData = items
        .filter((item) => item !== 'next-pass')
        .map((item) => {
          const [kind, offset, length] = item.split(' ');
          return kind === 'data' ? item : dataItem(Number(offset), Buffer.alloc(Number(length)));
        });
      const reading = await readAll(feed(sink.bytes, ...lengths));
      expect(reading).toMatchObject({ outcome: 'ok', protocol: 3, header: null, items: asData });
    }),
    { numRuns: 100 },
  );
});

test('bytes that are no stream end in an error, never in success or in a foreign one', async () => {
  const noise = fc.uint8Array({ maxLength: 400 });
  await fc.assert(
    fc.asyncProperty(noise, fc.constantFrom('', 'lvmsync PROTO[4]\n'), async (bytes, line) => {
      const { outcome } = await readAll(feed(Buffer.concat([Buffer.from(line), bytes])));
      expect(['TRUNCATED', 'FORMAT']).toContain(outcome);
    }),
    { numRuns: 300 },
  );
});

/** Writes the passes and tells which items must come out. */
async function write(all: Steps, volumeSize: number, writer: BlockWriter): Promise<string[]> {
  const items: string[] = [];
  await writer.start(someHeader(volumeSize));
  for (const [index, pass] of all.entries()) {
    if (index > 0) {
      await writer.nextPass();
      items.push('next-pass');
    }
    let offset = 0;
    for (const { gap, sectors, kind, fill } of pass) {
      offset += gap * SECTOR;
      const length = Math.min(sectors * SECTOR, volumeSize - offset);
      const bytes = Buffer.alloc(length, fill);
      if (kind === 'data') await writer.data(offset, bytes);
      else await writer[kind](offset, length);
      items.push(kind === 'data' ? dataItem(offset, bytes) : `${kind} ${offset} ${length}`);
      offset += sectors * SECTOR;
    }
  }
  await writer.finish();
  return items;
}
