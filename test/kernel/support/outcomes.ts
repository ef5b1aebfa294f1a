import { expect } from 'vitest';
import { lvmsync, lvmsyncCommand, run, type RunOptions } from './run.js';

/** The object that `--json` prints. */
export type JsonReport = Readonly<Record<string, unknown>>;

/** Runs lvmsync, which must succeed, and returns what it printed on stdout. */
export async function runLvmsync(...words: readonly string[]): Promise<string> {
  return run(lvmsyncCommand(...words));
}

/** Runs lvmsync with `--json`, which must succeed, and returns its report. */
export async function reportOf(...words: readonly string[]): Promise<JsonReport> {
  return JSON.parse(await runLvmsync(...words, '--json')) as JsonReport;
}

/** The same of a run that does all of its work, and finds that the rest of the target is in doubt. */
export async function reportOfSuspect(...words: readonly string[]): Promise<JsonReport> {
  const { status, stdout } = await lvmsync([...words, '--json']);
  const report = JSON.parse(stdout) as JsonReport;
  expect({ status, suspect: report['suspect'] }).toEqual({
    status: 11,
    suspect: expect.stringMatching(/someone wrote to it/) as string,
  });
  return report;
}

/**
 * Runs lvmsync, which must end with this status and say why in a line that matches: lines of its own only, and
 * none of them a stack.
 */
export async function expectFailure(
  words: readonly string[],
  status: number,
  message: RegExp,
  options: RunOptions = {},
): Promise<string> {
  const result = await lvmsync(words, options);
  expect({ status: result.status, stderr: result.stderr }).toEqual({
    status,
    stderr: expect.stringMatching(message) as string,
  });
  expectPlainLines(result.stderr);
  return result.stderr;
}

/** Every line names the program, and none is part of a stack. */
export function expectPlainLines(stderr: string): void {
  for (const line of stderr.trimEnd().split('\n'))
    expect(line).toMatch(/^lvmsync: (?!internal (fault|error))/);
}
