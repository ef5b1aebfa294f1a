import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { dealFiles, kernelTestFiles, LONG_FILES } from '../support/suite/kernel-suite.js';

describe('the kernel tests', () => {
  it('are dealt to the guests without a loss, none of which gets much more than another', () => {
    const files = kernelTestFiles();
    const hands = dealFiles(files, 2);
    expect(hands.flat().sort()).toEqual([...files].sort());
    const counts = hands.map((hand) => hand.filter((file) => path.basename(file) in LONG_FILES).length);
    expect(Math.abs((counts[0] ?? 0) - (counts[1] ?? 0))).toBeLessThan(4);
  });

  it('that are known to be long exist', () => {
    const names = kernelTestFiles().map((file) => path.basename(file));
    expect(names).toEqual(expect.arrayContaining(Object.keys(LONG_FILES)));
  });
});
