import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { joinChecksums } from '../../src/bytes/contents.js';

describe('joined checksums', () => {
  it('are those of the bytes behind each other', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 5000 }), (first, second) => {
        const joined = joinChecksums(crc32(first), crc32(second), second.length);
        expect(joined).toBe(crc32(second, crc32(first)));
      }),
    );
  });

  it('are right for whole blocks, also of lengths that are no power of two', () => {
    for (const length of [512, 4096, 65_536, 1_048_576, 1_048_576 - 512, 300_000]) {
      const [first, second] = [Buffer.alloc(27, 3), Buffer.alloc(length, length % 251)];
      expect(joinChecksums(crc32(first), crc32(second), length)).toBe(crc32(second, crc32(first)));
    }
  });
});
