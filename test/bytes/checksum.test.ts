import zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32, crc32Between, joinChecksums } from '../../src/bytes/contents.js';

describe('a checksum', () => {
  it('is what zlib computes for the same bytes, wherever they lie and whatever came before', () => {
    const memory = Buffer.alloc(70_000);
    for (let at = 0; at < memory.length; at++) memory[at] = (at * at) % 251;
    const lengths = fc.oneof(fc.nat(1100), fc.nat(66_000));
    fc.assert(
      fc.property(lengths, fc.nat(64), fc.nat(0xffff_ffff), (length, start, before) => {
        const bytes = memory.subarray(start, start + length);
        const expected = length === 0 ? before : zlib.crc32(bytes, before);
        expect(crc32(bytes, before)).toBe(expected);
        expect(crc32(new Uint8Array(bytes), before)).toBe(expected);
        expect(crc32Between(memory, start, start + length, before)).toBe(expected);
      }),
      { numRuns: 300 },
    );
  });
});

describe('joined checksums', () => {
  it('are the checksums of the joined bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 5000 }), (first, second) => {
        const joined = joinChecksums(crc32(first), crc32(second), second.length);
        expect(joined).toBe(crc32(second, crc32(first)));
      }),
    );
  });

  it('are right for whole blocks, even if their lengths are not powers of two', () => {
    for (const length of [512, 4096, 65_536, 1_048_576, 1_048_576 - 512, 300_000]) {
      const [first, second] = [Buffer.alloc(27, 3), Buffer.alloc(length, length % 251)];
      expect(joinChecksums(crc32(first), crc32(second), length)).toBe(crc32(second, crc32(first)));
    }
  });
});
