import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../src/errors.js';
import {
  encodeDigests,
  encodeQuery,
  parseDigests,
  parseQuery,
  type Query,
} from '../../src/stream/query-format.js';

const SIZE = 2 ** 40;
const MIB = 1024 * 1024;
const parse = (payload: Buffer, size = SIZE) => parseQuery(payload, size, 'test', 0);
const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

function outcomeOf<T>(work: () => T): T | Error {
  try {
    return work();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

describe('a question', () => {
  it('is laid out as the specification says', () => {
    const query = {
      blockLength: 4096,
      extents: [
        { offset: 0x1000, length: 0x2000 },
        { offset: 0x1_0000_0000, length: 1 },
      ],
    };
    const layout = bytes('00001000  0000000000001000 0000000000002000  0000000100000000 0000000000000001');
    expect(encodeQuery(query)).toBeBytes(layout);
    expect(parse(layout)).toEqual(query);
  });

  it.each([
    ['nothing', ''],
    ['no extent', '00001000'],
    ['part of an extent', '00001000 0000000000001000 00000000000020'],
    ['an extent without a byte', '00001000 0000000000001000 0000000000000000'],
    ['an extent past the end', '00001000 000000ffffffffff 0000000000000002'],
    ['an offset past what a number holds', '00001000 ffffffffffffffff 0000000000000001'],
    ['an offset and a length that only together do', '00001000 001fffffffffffff 001fffffffffffff'],
    ['blocks of no length', '00000000 0000000000001000 0000000000002000'],
    ['blocks of an odd length', '00001001 0000000000001000 0000000000002000'],
    ['blocks of three sectors', '00000600 0000000000001000 0000000000002000'],
    ['blocks too small', '00000100 0000000000001000 0000000000002000'],
    ['blocks too large', '00200000 0000000000001000 0000000000002000'],
    ['one block too many', '00000200 0000000000000000 0000000000200001'],
  ])('with %s is refused', (_name, hex) => {
    expect(() => parse(bytes(hex))).toThrow(FormatError);
  });

  it('of the most blocks, or of the most extents, is taken; of one extent more it is not', () => {
    expect(parse(bytes('00000200 0000000000000000 0000000000200000')).extents).toHaveLength(1);
    const many = (count: number): Query => ({
      blockLength: 512,
      extents: Array.from({ length: count }, (_, i) => ({ offset: i * 1024, length: 512 })),
    });
    expect(parse(encodeQuery(many(4096))).extents).toHaveLength(4096);
    expect(() => parse(encodeQuery(many(4097)))).toThrow(/not a query/);
  });

  it('of any bytes is a question within the limits, or refused', () => {
    // bytes at random are never one: most of these begin with a length of blocks, and their numbers are near a limit
    const number = fc.oneof(
      fc.nat(4096 * 512),
      fc.integer({ min: -1000, max: 1000 }).map((past) => SIZE + past),
      fc.maxSafeNat(),
    );
    const extent = fc.tuple(number, fc.nat(512 * 512));
    const almost = fc
      .tuple(fc.constantFrom(256, 512, 4096, 4097, MIB, 2 * MIB), fc.array(extent, { maxLength: 3 }))
      .map(([blockLength, pairs]) =>
        encodeQuery({ blockLength, extents: pairs.map(([offset, length]) => ({ offset, length })) }),
      );
    const outcomes = { taken: 0, refused: 0 };
    fc.assert(
      fc.property(fc.oneof(almost, almost, fc.uint8Array({ maxLength: 100 })), (bytes) => {
        const outcome = outcomeOf(() => parse(Buffer.from(bytes)));
        if (outcome instanceof Error) {
          outcomes.refused += 1;
          expect(outcome).toBeInstanceOf(FormatError);
          return;
        }
        outcomes.taken += 1;
        expect([512, 4096, MIB]).toContain(outcome.blockLength);
        for (const { offset, length } of outcome.extents) {
          expect(length).toBeGreaterThan(0);
          expect(offset + length).toBeLessThanOrEqual(SIZE);
        }
      }),
    );
    expect(outcomes.taken).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
  });
});

describe('an answer', () => {
  const digest = Buffer.alloc(32, 0xab);
  const layout = Buffer.concat([bytes('0000000000000007'), digest, digest]);

  it('is laid out as the specification says', () => {
    expect(encodeDigests(7, Buffer.concat([digest, digest]))).toBeBytes(layout);
    expect(parseDigests(layout, { question: 7, blocks: 2 }, 'test', 0)).toBeBytes(
      Buffer.concat([digest, digest]),
    );
  });

  it.each([
    ['to another question', { question: 8, blocks: 2 }, /do not answer question 8/],
    ['for fewer blocks', { question: 7, blocks: 3 }, /72 bytes for 3 blocks/],
    ['for more blocks', { question: 7, blocks: 1 }, /72 bytes for 1 blocks/],
  ])('%s is refused', (_name, asked, message) => {
    expect(() => parseDigests(layout, asked, 'test', 0)).toThrow(message);
  });
});
