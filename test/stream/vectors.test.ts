import { describe, expect, test } from 'vitest';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { Proto3Writer } from '../../src/stream/proto3.js';
import { Collector, copyStream, feed, Lender, readAll } from '../support/scenes/feed.js';
import { vectors, wholeVectors } from './vectors/load-vectors.js';

describe('golden vectors', () => {
  test.each(vectors)('$name ($why): $expect', async ({ bytes, expect: outcome }) => {
    expect((await readAll(feed(bytes))).outcome).toBe(outcome);
  });

  test.each(wholeVectors)('$name brings its header and items', async ({ bytes, protocol, header, items }) => {
    expect(await readAll(feed(bytes))).toEqual({
      outcome: 'ok',
      error: null,
      protocol,
      header: pick(header),
      items,
    });
  });

  test.each(vectors.filter(({ bytes }) => bytes.length < 200_000))(
    '$name, fed one byte at a time: $expect',
    async ({ bytes, expect: outcome }) => {
      expect((await readAll(feed(bytes, 1))).outcome).toBe(outcome);
    },
  );

  test.each(wholeVectors.filter(({ canonical }) => canonical))(
    'our writer writes $name byte for byte',
    async ({ bytes, protocol }) => {
      const sink = new Collector();
      const writer = protocol === 4 ? new FrameWriter(sink) : new Proto3Writer(sink);
      await copyStream(bytes, writer);
      expect(sink.bytes).toBeBytes(bytes);
      expect(writer.bytesWritten).toBe(bytes.length);
      expect(sink.ended).toBe(true);
    },
  );

  test.each(vectors)('$name never asks for more than a block of memory', async ({ bytes }) => {
    const lender = new Lender();
    await readAll(feed(bytes), lender);
    expect(lender.longest).toBeLessThanOrEqual(1024 * 1024);
  });
});

/** What is left of a header once unknown fields are dropped. */
function pick(header: object | null): object | null {
  if (header === null) return null;
  return Object.fromEntries(Object.entries(header).filter(([field]) => field !== 'later'));
}
