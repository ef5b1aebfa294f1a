import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addTallies, tallyVitest, type Tally } from '../support/suite/tally.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lvmsync-tally-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Tallies a report with one file, whose tests ended so. */
function tally(statuses: readonly string[], exitStatus: number | null, fileStatus = 'passed'): Tally {
  const file = path.join(folder, 'report.json');
  const assertionResults = statuses.map((status, index) => ({ status, fullName: `test ${index}` }));
  const name = path.resolve('test/some.test.ts');
  writeFileSync(file, JSON.stringify({ testResults: [{ name, status: fileStatus, assertionResults }] }));
  return tallyVitest('unit', file, exitStatus);
}

describe('the count of a vitest run', () => {
  it('tells what passed, failed and was skipped, and names the failures', () => {
    expect(tally(['passed', 'failed', 'passed', 'pending', 'todo'], 1, 'failed')).toEqual({
      passed: 2,
      failed: 1,
      skipped: 2,
      failures: ['test/some.test.ts: test 1'],
    });
  });

  it('is a failure where a file could not be loaded', () => {
    expect(tally([], 1, 'failed').failures).toEqual(['test/some.test.ts: failed as a whole']);
  });

  it('is a failure where vitest left no report', () => {
    expect(tallyVitest('unit', path.join(folder, 'none.json'), 0)).toMatchObject({ passed: 0, failed: 1 });
  });

  it('is a failure where vitest says so and no test tells why, and where it was killed', () => {
    expect(tally(['passed'], 1)).toMatchObject({ passed: 1, failed: 1 });
    expect(tally(['passed'], null)).toMatchObject({ passed: 1, failed: 1 });
  });

  it('is a failure where no test ran', () => {
    expect(tally([], 0).failures).toEqual(['unit: no test ran']);
  });

  it('adds up', () => {
    const sum = addTallies([tally(['passed'], 0), tally(['failed'], 1), tally(['skipped', 'passed'], 0)]);
    expect(sum).toMatchObject({ passed: 2, failed: 1, skipped: 1 });
  });
});
