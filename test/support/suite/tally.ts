import { readFileSync } from 'node:fs';
import path from 'node:path';

/** What a run counted, with the names of what failed. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failures: readonly string[];
}

/** The part of vitest's JSON report that we read. */
interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

export const EMPTY: Tally = { passed: 0, failed: 0, skipped: 0, failures: [] };

export function addTallies(tallies: readonly Tally[]): Tally {
  const sum = (field: 'passed' | 'failed' | 'skipped'): number =>
    tallies.reduce((total, tally) => total + tally[field], 0);
  return {
    passed: sum('passed'),
    failed: sum('failed'),
    skipped: sum('skipped'),
    failures: tallies.flatMap(({ failures }) => failures),
  };
}

/** Prints what failed and the counts; returns the exit status that says the same. */
export function printTally({ passed, failed, skipped, failures }: Tally): number {
  console.log('');
  for (const name of failures) console.log(`FAILED ${name}`);
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed === 0 ? 0 : 1;
}

/** One failure that no test stands for: a step, or a vitest that fell over. */
export function failure(what: string): Tally {
  return { ...EMPTY, failed: 1, failures: [what] };
}

/**
 * Counts a vitest run by its JSON report and its exit status. A run without a report, without a test, or with
 * a bad status that no test explains is a failure, never zero tests.
 */
export function tallyVitest(suite: string, reportFile: string, status: number | null): Tally {
  const report = readReport(reportFile);
  if (report === null) return failure(`${suite}: vitest left no report (exit status ${status ?? 'none'})`);
  const tally = addTallies(report.testResults.map(tallyFile));
  if (status !== 0 && (tally.failed === 0 || status === null)) {
    return addTallies([tally, failure(`${suite}: vitest ended with exit status ${status ?? 'none'}`)]);
  }
  return tally.passed + tally.failed === 0 ? addTallies([tally, failure(`${suite}: no test ran`)]) : tally;
}

function readReport(file: string): VitestReport | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as VitestReport;
  } catch {
    // missing, or cut short
    return null;
  }
}

function tallyFile({ name, status, assertionResults }: VitestReport['testResults'][number]): Tally {
  const file = path.relative(process.cwd(), name);
  const count = (...wanted: string[]): number =>
    assertionResults.filter((result) => wanted.includes(result.status)).length;
  const failures = assertionResults
    .filter((result) => result.status === 'failed')
    .map((result) => `${file}: ${result.fullName}`);
  // a file that could not be loaded, or a hook of it that failed
  if (status === 'failed' && failures.length === 0) failures.push(`${file}: failed as a whole`);
  return {
    passed: count('passed'),
    failed: failures.length,
    skipped: count('skipped', 'pending', 'todo', 'disabled'),
    failures,
  };
}
