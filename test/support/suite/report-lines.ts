import { appendFileSync, closeSync, fsyncSync, openSync, readFileSync } from 'node:fs';

/*
 * What a vitest run tells us: a file of JSON lines, each on stable storage as soon as it is known, so that a run that
 * dies has still told what it did. `record-results.ts` writes it inside vitest, the suite reads it.
 */

/** A test file has begun. */
export interface FileBegun {
  /** Relative to the checkout. */
  readonly begun: string;
}

/** A test file has ended. */
export interface FileEnded {
  readonly ended: string;
  /** Wall time from begin to end. */
  readonly seconds: number;
  /** Whether the file or a hook of it failed, or a test. */
  readonly failed: boolean;
  readonly tests: readonly { readonly name: string; readonly status: 'passed' | 'failed' | 'skipped' }[];
}

export type ReportLine = FileBegun | FileEnded;

export function appendReportLine(report: string, line: ReportLine): void {
  const fd = openSync(report, 'a');
  appendFileSync(fd, `${JSON.stringify(line)}\n`);
  fsyncSync(fd);
  closeSync(fd);
}

/** All whole lines; none where there is no such file. */
export function readReport(report: string): ReportLine[] {
  let text = '';
  try {
    text = readFileSync(report, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  // what follows the last line feed was cut short
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as ReportLine);
}

export function endedFiles(lines: readonly ReportLine[]): FileEnded[] {
  return lines.filter((line) => 'ended' in line);
}

/** The files that had begun and not ended: at most one, unless several ran at once. */
export function filesUnderWay(lines: readonly ReportLine[]): string[] {
  const ended = new Set(endedFiles(lines).map((line) => line.ended));
  const begun = lines.filter((line) => 'begun' in line).map((line) => line.begun);
  return begun.filter((file) => !ended.has(file));
}

/** How long files took, one after the other. */
export function totalSeconds(ended: readonly FileEnded[]): number {
  return ended.reduce((sum, { seconds }) => sum + seconds, 0);
}
