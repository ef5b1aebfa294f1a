import { endedFiles, filesUnderWay, readReport, type FileEnded } from './report-lines.js';

/** What a run counted, with the names of what failed. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failures: readonly string[];
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

/** The counts in one line. */
export function formatCounts({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** Prints what failed and the counts; returns the exit status that says the same. */
export function printTally(tally: Tally): number {
  console.log('');
  for (const name of tally.failures) console.log(`FAILED ${name}`);
  console.log(formatCounts(tally));
  return tally.failed === 0 ? 0 : 1;
}

/** One failure that no test stands for: a step, or a vitest that fell over. */
export function failure(what: string): Tally {
  return { ...EMPTY, failed: 1, failures: [what] };
}

/**
 * Counts a vitest run by its report and its exit status. A run without a report, without a test, with a file that did
 * not come to its end, or with a bad status that no test explains is a failure, never zero tests.
 */
export function tallyVitest(suite: string, report: string, status: number | null): Tally {
  const lines = readReport(report);
  const tally = addTallies([
    ...endedFiles(lines).map((file) => tallyFile(suite, file)),
    ...filesUnderWay(lines).map((file) => failure(`${suite}: ${file}: it did not come to its end`)),
  ]);
  if (status !== 0 && (tally.failed === 0 || status === null)) {
    return addTallies([tally, failure(`${suite}: vitest ended with exit status ${status ?? 'none'}`)]);
  }
  return tally.passed + tally.failed === 0 ? addTallies([tally, failure(`${suite}: no test ran`)]) : tally;
}

/** Counts the tests of one file that came to its end. */
export function tallyFile(suite: string, { ended, failed, tests }: FileEnded): Tally {
  const count = (wanted: string): number => tests.filter(({ status }) => status === wanted).length;
  const failures = tests
    .filter(({ status }) => status === 'failed')
    .map(({ name }) => `${suite}: ${ended}: ${name}`);
  // a file that could not be loaded, or a hook of it that failed
  if (failed && failures.length === 0) failures.push(`${suite}: ${ended}: failed as a whole`);
  return { passed: count('passed'), failed: failures.length, skipped: count('skipped'), failures };
}
