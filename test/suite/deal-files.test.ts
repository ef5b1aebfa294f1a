import { describe, expect, it } from 'vitest';
import { dealItems, readFileTimes, secondsOf } from '../support/suite/deal-files.js';
import { kernelTestFiles } from '../support/suite/kernel-suite.js';

describe('the kernel tests', () => {
  it('are dealt to the guests without a loss, and no guest gets much more to do than the other', () => {
    const files = kernelTestFiles();
    const times = readFileTimes();
    const length = (file: string): number => secondsOf(times, file);
    const hands = dealItems(files, 2, length);
    expect(hands.flat().sort()).toEqual([...files].sort());
    const [one = 0, other = 0] = hands.map((hand) => hand.reduce((sum, file) => sum + length(file), 0));
    expect(Math.abs(one - other)).toBeLessThanOrEqual(Math.max(...files.map(length)));
  });

  it('that were never measured begin early', () => {
    const hands = dealItems(['short', 'new', 'middle'], 1, (file) =>
      secondsOf({ short: 1, middle: 20 }, file),
    );
    expect(hands).toEqual([['new', 'middle', 'short']]);
  });
});
