import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { dealFiles, kernelTestFiles, KNOWN_SECONDS, secondsOf } from '../support/suite/kernel-suite.js';

describe('the kernel tests', () => {
  it('are dealt to the guests without a loss, none of which gets much more than another', () => {
    const files = kernelTestFiles();
    const hands = dealFiles(files, 2);
    expect(hands.flat().sort()).toEqual([...files].sort());
    const [first = 0, second = 0] = hands.map((hand) => hand.reduce((sum, file) => sum + secondsOf(file), 0));
    expect(Math.min(first, second)).toBeGreaterThan(600);
    expect(Math.abs(first - second)).toBeLessThan(60);
  });

  it('whose times are known exist', () => {
    const names = kernelTestFiles().map((file) => path.basename(file));
    expect(names).toEqual(expect.arrayContaining(Object.keys(KNOWN_SECONDS)));
  });
});
