import { describe, expect, it } from 'vitest';
import { countOf, formatBoth } from '../../src/bytes/amounts.js';

describe('a number with its noun', () => {
  it.each([
    [0, 'block', '0 blocks'],
    [1, 'block', '1 block'],
    [2, 'block', '2 blocks'],
    [1, 'logical volume', '1 logical volume'],
  ])('%i %s: %s', (count, noun, words) => {
    expect(countOf(count, noun)).toBe(words);
  });
});

describe('two sizes beside each other', () => {
  it.each([
    [4 << 20, 8 << 20, ['4 MiB', '8 MiB']],
    [1 << 30, (1 << 30) + 512, ['1073741824 bytes', '1073742336 bytes']],
    [1 << 30, 1 << 30, ['1 GiB', '1 GiB']],
  ])('of %i and %i bytes can be told apart', (one, other, words) => {
    expect(formatBoth(one, other)).toEqual(words);
  });
});
