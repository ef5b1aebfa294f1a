import { beforeAll, describe, expect, test } from 'vitest';
import { Proto3Writer } from '../../src/stream/proto3.js';
import { readBatches, writeMixedStream } from '../support/scenes/batchwise.js';
import { Collector } from '../support/scenes/feed.js';
import { framesOf } from '../support/scenes/reframe.js';
import { vectors } from './vectors/load-vectors.js';

let stream: Buffer;
let proto3: Buffer;

beforeAll(async () => {
  stream = await writeMixedStream();
  const records = new Collector();
  const writer = new Proto3Writer(records);
  await writer.start();
  await writer.data(4096, Buffer.alloc(300, 'one record'));
  await writer.data(0, Buffer.alloc(700, 'another'));
  proto3 = records.bytes;
});

describe('the same batches, marks and errors come out of a stream', () => {
  test.each(vectors.filter(({ bytes }) => bytes.length < 200_000))(
    '$name in pieces of 1, 7 and 4096 bytes as in one',
    async ({ bytes }) => {
      const whole = await readBatches(bytes);
      for (const length of [1, 7, 4096]) expect(await readBatches(bytes, length), `${length}`).toEqual(whole);
    },
  );

  test('cut in two pieces anywhere', async () => {
    const whole = await readBatches(stream);
    expect(whole.at(-1)).toEqual(['whole']);
    // Behind this, only the data of the long block, of which each byte is like the next, and the end.
    const [data = 0, end = 0] = framesOf(stream).slice(-2);
    const places = [...Array(stream.length).keys()].filter((at) => at < data + 100 || at > end - 100);
    for (const at of places) expect(await readBatches(stream, at, stream.length), `at ${at}`).toEqual(whole);
  });

  test('of PROTO[3], cut in two pieces anywhere', async () => {
    const whole = await readBatches(proto3);
    expect(whole.flat()).toHaveLength(3);
    for (let at = 1; at < proto3.length; at++)
      expect(await readBatches(proto3, at, proto3.length), `at ${at}`).toEqual(whole);
  });

  test('that ends too soon, in one piece and in many', async () => {
    const words = new Set<string>();
    for (let length = 17; length < stream.length; length += length < 2600 ? 1 : 97) {
      const cut = stream.subarray(0, length);
      const whole = await readBatches(cut);
      const [code, message = ''] = whole.at(-1) ?? [];
      expect(code).toBe('TRUNCATED');
      expect(message).toContain(`byte ${length}`);
      words.add(/: (a? ?[a-z ]+) expected/.exec(message)?.[1] ?? message);
      for (const piece of [1, 7]) expect(await readBatches(cut, piece), `${length}`).toEqual(whole);
    }
    expect([...words].sort()).toEqual(['a checksum', 'a data frame', 'a frame', 'a payload', 'data']);
  });
});
