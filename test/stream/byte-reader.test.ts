import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TruncatedStreamError } from '../../src/errors.js';
import { ByteReader } from '../../src/stream/frames/byte-reader.js';
import { feed } from '../support/scenes/feed.js';

test('gives exactly what is asked for, however it came, and counts it', async () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), lengths, lengths, async (bytes, fed, asked) => {
      const reader = new ByteReader(feed(bytes, ...fed), 'some stream');
      const got: Buffer[] = [];
      for (const length of asked) {
        if (reader.offset + length > bytes.length) break;
        got.push(await reader.readExactly(length, 'bytes'));
      }
      const all = Buffer.concat(got);
      expect(all).toBeBytes(bytes.subarray(0, all.length));
      expect(reader.offset).toBe(all.length);
      expect(await reader.atEnd()).toBe(all.length === bytes.length);
    }),
  );
});

test('an end in the middle names the byte where it came, and what was missing', async () => {
  const reader = new ByteReader(feed(Buffer.from('0123456789'), 4), 'some stream');
  await reader.readExactly(3, 'a start');
  const read = reader.readInto(Buffer.alloc(8), 'a rest');
  await expect(read).rejects.toThrow(TruncatedStreamError);
  await expect(read).rejects.toThrow(/^some stream: .*byte 10.*a rest/);
});

test('empty pieces are no end', async () => {
  async function* pieces() {
    yield await Promise.resolve(Buffer.alloc(0));
    yield Buffer.from('ab');
    yield Buffer.alloc(0);
  }
  const reader = new ByteReader(pieces(), 'some stream');
  expect(await reader.atEnd()).toBe(false);
  expect((await reader.readExactly(2, 'two bytes')).toString()).toBe('ab');
  expect(await reader.atEnd()).toBe(true);
});
