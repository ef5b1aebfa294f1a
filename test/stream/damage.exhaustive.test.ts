import { describe, expect, test } from 'vitest';
import { feed, readAll } from '../support/scenes/feed.js';
import { wholeVector, wholeVectors } from './vectors/load-vectors.js';

const small = wholeVectors.filter(({ bytes, protocol }) => protocol === 4 && bytes.length < 10_000);

describe('a damaged stream', () => {
  test.each(small)('$name, cut at any byte, is truncated', async ({ bytes, items }) => {
    for (let length = 0; length < bytes.length; length++) {
      const reading = await readAll(feed(bytes.subarray(0, length)));
      expect(reading.outcome, `cut at ${length}`).toBe('TRUNCATED');
      expect(reading.error).toHaveProperty('offset', length);
      expect(reading.items).toEqual(items.slice(0, reading.items.length));
    }
  });

  test.each(small)('$name, followed by anything, is refused', async ({ bytes }) => {
    for (const trailing of ['\0', '\n', 'lvmsync PROTO[4]\n']) {
      const reading = await readAll(feed(Buffer.concat([bytes, Buffer.from(trailing)])));
      expect(reading.outcome).toBe('FORMAT');
    }
  });

  test.each(['worked-example', 'three-passes', 'packed-zstd', 'touching'])(
    '%s with any one bit flipped never passes',
    async (name) => {
      const { bytes } = wholeVector(name);
      const outcomes = new Set<string>();
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const damaged = Buffer.from(bytes);
        damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        const { outcome } = await readAll(feed(damaged));
        expect(outcome, `bit ${bit}`).not.toBe('ok');
        outcomes.add(outcome);
      }
      expect([...outcomes].sort()).toEqual(['FORMAT', 'TRUNCATED']);
    },
  );

  test('no block comes out of a frame whose checksum is wrong', async () => {
    const { bytes, items } = wholeVector('all-frames');
    const damaged = Buffer.from(bytes);
    // A bit in the data of the first block.
    const at = damaged.indexOf('0000000000000000000002000001080f', 0, 'hex') + 20;
    damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
    expect(items.length).toBeGreaterThan(0);
    expect(await readAll(feed(damaged))).toMatchObject({ outcome: 'FORMAT', items: [] });
  });

  test('PROTO[3] cut between two records passes as whole: the format cannot tell', async () => {
    const { bytes, items } = wholeVector('proto3');
    const whole: number[] = [];
    for (let length = 0; length < bytes.length; length++) {
      const reading = await readAll(feed(bytes.subarray(0, length)));
      expect(['ok', 'TRUNCATED']).toContain(reading.outcome);
      expect(reading.items).toEqual(items.slice(0, reading.items.length));
      if (reading.outcome === 'ok') whole.push(length);
    }
    expect(whole).toEqual([17, 17 + 12 + 512]);
  });

  test('an error from the source itself comes through', async () => {
    const { bytes } = wholeVector('all-frames');
    const fault = new Error('the line broke');
    async function* broken() {
      yield* feed(bytes.subarray(0, 700));
      throw fault;
    }
    await expect(readAll(broken())).rejects.toBe(fault);
  });
});

describe('what an error says', () => {
  test('what was seen instead of the first line, printable', async () => {
    const { error } = await readAll(feed(Buffer.from('Welcome\x1b[1m to alpha!\nlvmsync PROTO[4]\n')));
    expect(error?.message).toContain('Welcome.[1m to alpha!');
    expect(error?.message).toMatch(/^test stream: /);
  });

  test('which version another protocol needs', async () => {
    const { error } = await readAll(feed(Buffer.from('lvmsync PROTO[7]\n')));
    expect(error?.message).toContain('PROTO[7]');
  });

  test('where a frame is wrong', async () => {
    const { bytes } = wholeVector('empty');
    const twice = Buffer.concat([bytes, bytes.subarray(-90)]);
    expect((await readAll(feed(twice))).error).toMatchObject({ offset: bytes.length, what: 'test stream' });
  });
});
