import { describe, expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';

describe('words of a pull', () => {
  it.each([
    [['vg/snap', '/dev/t'], /pull expects HOST:SNAPSHOT .*run: lvmsync vg\/snap TARGET/],
    [['src:vg/snap', 'dst:/dev/t'], /dst:\/dev\/t: TARGET must be on this host/],
    [['src:vg/snap'], /missing required argument 'TARGET'/],
    [['src:vg/snap', '/dev/t', '--stdout'], /unknown option '--stdout'/],
  ])('%j are refused', async (words, message) => {
    const { status, said } = await runWords(['pull', ...words]);
    expect([status, said]).toEqual([2, [expect.stringMatching(message)]]);
  });
});
