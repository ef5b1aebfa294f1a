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
const parse = (payload: Buffer, size = SIZE) => parseQuery(payload, size, 'test', 0);
const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

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
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (noise) => {
        try {
          for (const { offset, length } of parse(Buffer.from(noise)).extents) {
            expect(offset + length).toBeLessThanOrEqual(SIZE);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(FormatError);
        }
      }),
    );
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
