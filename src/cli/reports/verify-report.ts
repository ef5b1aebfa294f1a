import type { ChangeSet } from '../../changes/change-set.js';
import type { VerifySummary } from '../../jobs/verify.js';
import { countOf, formatBytes, formatDuration } from '../../bytes/amounts.js';
import { extentLines, extentsJson } from './change-map.js';

/** The two sides as the user named them, and the snapshot that the changes were read from. */
export interface VerifyNames {
  readonly a: string;
  readonly b: string;
  readonly changed: string | null;
}

/** What a verify found, for stdout: one line for each extent that differs. */
export function verifyLines({ differing }: VerifySummary): Iterable<string> {
  return extentLines(differing.extents());
}

/** What a verify found as one JSON object, in pieces. */
export function* verifyJson(summary: VerifySummary, { a, b }: VerifyNames): Generator<string> {
  const { comparedBytes, differing, remaining, outsideBytes, consistent, seconds } = summary;
  const json = JSON.stringify({
    ...{ equal: isEmpty(remaining), comparedBytes },
    differingBytes: differing.changedBytes,
    remainingBytes: remaining.changedBytes,
    ...{ outsideBytes, consistent, seconds: Math.round(seconds * 1000) / 1000, a, b },
  });
  yield `${json.slice(0, -1)},"extents":`;
  yield* extentsJson(differing.extents());
  yield '}\n';
}

/** What a verify found, for stderr: everything except that the two differ, which the error says. */
export function* describeVerify(summary: VerifySummary, names: VerifyNames): Generator<string> {
  const { comparedBytes, compareSeconds, differing, remaining, outsideBytes, consistent } = summary;
  const rate = formatBytes(Math.round(comparedBytes / Math.max(compareSeconds, 0.001)));
  const isRepaired = remaining.chunks.count < differing.chunks.count;
  // The error says what still differs.
  const found = isRepaired ? `: ${describeDifferences(differing)}` : '';
  const verdict = isEmpty(differing) ? ': equal' : found;
  yield `${formatBytes(comparedBytes)} compared in ${formatDuration(compareSeconds)} (${rate}/s)${verdict}`;
  if (outsideBytes !== null && outsideBytes > 0) {
    yield (
      `warning: ${formatBytes(outsideBytes)} of it differ although ${names.changed ?? 'nothing'} does not list them ` +
      `as changed: ${names.b} did not start from the state of that snapshot, or was written to since`
    );
  }
  if (!isEmpty(differing) && isEmpty(remaining)) {
    yield `${formatBytes(differing.changedBytes)} sent and compared again: ${names.b} now equals ${names.a} there`;
  }
  if (!consistent) {
    yield `warning: ${names.a} was in use while it was compared: differences may come from writes in the meantime`;
  }
}

/** Such as "8 KiB differ in 2 places, the first at byte 4096". */
export function describeDifferences(differing: ChangeSet): string {
  let places = 0;
  let first = 0;
  for (const { offset } of differing.extents()) {
    if (places === 0) first = offset;
    places += 1;
  }
  const where = `in ${countOf(places, 'place')}, ${places === 1 ? '' : 'the first '}at byte ${first}`;
  return `${formatBytes(differing.changedBytes)} differ ${where}`;
}

export function isEmpty(changes: ChangeSet): boolean {
  return changes.chunks.count === 0;
}
