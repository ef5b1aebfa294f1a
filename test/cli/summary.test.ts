import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { sayTransferred } from '../../src/cli/reports/summary.js';
import { formatDuration } from '../../src/bytes/amounts.js';
import { defaultSshSettings } from '../../src/transport/ssh/index.js';
import { sourceFrom } from '../../src/transport/stream-channel.js';
import { plainProcess } from '../support/run-program.js';
import { quietSurroundings } from '../support/surroundings.js';

const GIB = 2 ** 30;

function told(sentBytes: number, seconds: number): string {
  const lines: string[] = [];
  const context = {
    input: (name: string) => sourceFrom(new PassThrough(), name),
    stdout: new PassThrough(),
    version: '0.0.0-test',
    ...plainProcess,
    say: (line: string) => lines.push(line),
    ssh: () => defaultSshSettings('/nowhere', 'nobody', null),
    surroundings: () => quietSurroundings(),
  };
  const counts = {
    tableBytes: GIB,
    changedBytes: GIB,
    sentBytes,
    volumeSize: 100 * GIB,
    blocks: 1,
    targetSize: null,
  };
  sayTransferred(
    {
      ...{ ...counts, seconds, source: 'vg/s', consistent: true, mismatches: 0, resumedBytes: 0 },
      ...{ suspect: null, verified: null, codec: null },
    },
    'host:/dev/t',
    {},
    context,
  );
  return lines.join('\n');
}

describe('the summary of a transfer', () => {
  it('compares its time with a full copy only if the run was long enough to measure the rate', () => {
    expect(told(GIB, 90)).toBe(
      '1 GiB changed (1.0 % of 100 GiB), 1 GiB sent in 1 min 30 s: ' +
        '100.0 times faster than a full copy, which would take 2 h 30 min at this rate',
    );
    expect(told(GIB, 0.31)).toMatch(/sent in 0\.31 s; a full copy would send 100\.0 times as much$/);
    expect(told(GIB / 1024, 90)).toMatch(/; a full copy would send 102400\.0 times as much$/);
  });

  it('compares nothing if nothing was saved', () => {
    expect(told(101 * GIB, 90)).toMatch(/sent in 1 min 30 s$/);
    expect(told(0, 90)).toMatch(/0 B sent in 1 min 30 s$/);
  });
});

it.each([
  [0, '0.001 s'],
  [0.0123, '0.012 s'],
  [59.4, '59 s'],
  [59.6, '1 min 0 s'],
  [3599.4, '59 min 59 s'],
  [3600, '1 h 0 min'],
  [90_061, '25 h 1 min'],
])('%d seconds read as %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});
