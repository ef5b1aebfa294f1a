import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appendReportLine } from '../support/suite/report-lines.js';
import { addTallies, tallyVitest, type Tally } from '../support/suite/tally.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lvmsync-tally-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

type Status = 'passed' | 'failed' | 'skipped';

/** Tallies a report with one file, whose tests ended so. */
function tally(statuses: readonly Status[], exitStatus: number | null, failed = false): Tally {
  const report = path.join(folder, 'report');
  rmSync(report, { force: true });
  appendReportLine(report, { begun: 'test/some.test.ts' });
  const tests = statuses.map((status, index) => ({ status, name: `test ${index}` }));
  appendReportLine(report, { ended: 'test/some.test.ts', seconds: 1, failed, tests });
  return tallyVitest('unit', report, exitStatus);
}

describe('the count of a vitest run', () => {
  it('counts what passed, failed and was skipped, and names the failures', () => {
    expect(tally(['passed', 'failed', 'passed', 'skipped', 'skipped'], 1, true)).toEqual({
      passed: 2,
      failed: 1,
      skipped: 2,
      failures: ['unit: test/some.test.ts: test 1'],
    });
  });

  it('is a failure if a file could not be loaded', () => {
    expect(tally([], 1, true).failures).toEqual(['unit: test/some.test.ts: failed as a whole']);
  });

  it('is a failure if vitest left no report', () => {
    expect(tallyVitest('unit', path.join(folder, 'none'), 0)).toMatchObject({ passed: 0, failed: 1 });
  });

  it('is a failure if vitest says so and no test says why, and if it was killed', () => {
    expect(tally(['passed'], 1)).toMatchObject({ passed: 1, failed: 1 });
    expect(tally(['passed'], null)).toMatchObject({ passed: 1, failed: 1 });
  });

  it('is a failure if a file did not come to its end, as far as the report shows', () => {
    const report = path.join(folder, 'cut');
    appendReportLine(report, { begun: 'test/one.test.ts' });
    const tests = [{ name: 'a test', status: 'passed' as const }];
    appendReportLine(report, { ended: 'test/one.test.ts', seconds: 1, failed: false, tests });
    appendReportLine(report, { begun: 'test/two.test.ts' });
    appendFileSync(report, '{"ended":"test/tw');
    expect(tallyVitest('kernel', report, 1)).toEqual({
      passed: 1,
      failed: 1,
      skipped: 0,
      failures: ['kernel: test/two.test.ts: it did not come to its end'],
    });
  });

  it('is a failure if no test ran', () => {
    expect(tally([], 0).failures).toEqual(['unit: no test ran']);
  });

  it('adds up', () => {
    const sum = addTallies([tally(['passed'], 0), tally(['failed'], 1), tally(['skipped', 'passed'], 0)]);
    expect(sum).toMatchObject({ passed: 2, failed: 1, skipped: 1 });
  });
});
