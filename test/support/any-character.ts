import fc from 'fast-check';

/** Any character, control characters more often than chance has them. fast-check's own "binary" takes a second to make. */
export const ANY_CHARACTER = fc
  .oneof(fc.nat(0xff), fc.nat(0xd7ff), fc.integer({ min: 0xe000, max: 0x10ffff }))
  .map((point) => String.fromCodePoint(point));
