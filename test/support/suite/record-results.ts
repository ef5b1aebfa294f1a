import path from 'node:path';
import type { Reporter, TestCase, TestModule } from 'vitest/node';
import { appendReportLine } from './report-lines.js';

/** Names the file that the results go to. */
export const REPORT_VARIABLE = 'LVMSYNC_TEST_REPORT';

/** A vitest reporter that writes `report-lines.ts`. */
export default class RecordResults implements Reporter {
  private readonly report = process.env[REPORT_VARIABLE] ?? '';
  private readonly beginnings = new Map<string, number>();

  constructor() {
    if (this.report === '') throw new Error(`${REPORT_VARIABLE} must name a file`);
  }

  onTestModuleStart({ moduleId }: TestModule): void {
    this.beginnings.set(moduleId, performance.now());
    appendReportLine(this.report, { begun: nameOf(moduleId) });
  }

  onTestModuleEnd(file: TestModule): void {
    const beginning = this.beginnings.get(file.moduleId) ?? performance.now();
    appendReportLine(this.report, {
      ended: nameOf(file.moduleId),
      seconds: Math.round(performance.now() - beginning) / 1000,
      failed: file.state() === 'failed',
      tests: [...file.children.allTests()].map((test) => ({ name: test.fullName, status: statusOf(test) })),
    });
  }
}

function nameOf(moduleId: string): string {
  return path.relative(process.cwd(), moduleId);
}

/** One that never ran, such as behind a hook that failed, counts as skipped; the file has then failed. */
function statusOf(test: TestCase): 'passed' | 'failed' | 'skipped' {
  const { state } = test.result();
  return state === 'pending' ? 'skipped' : state;
}
