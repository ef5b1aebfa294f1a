import type { ChangeSet } from '../../changes/change-set.js';
import type { VerifySummary } from '../../jobs/verify.js';
import { formatBytes, formatDuration } from '../terminal.js';
import { extentLines, extentsJson } from './change-map.js';

/** The two sides in the user's words, and what the changes were taken from. */
export interface VerifyNames {
  readonly a: string;
  readonly b: string;
  readonly changed: string | null;
}

/** What a verify found, for stdout: each differing extent on a line. */
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

/** What a verify found, for stderr: all but that the two differ, which is an error's to say. */
export function* describeVerify(summary: VerifySummary, names: VerifyNames): Generator<string> {
  const { comparedBytes, compareSeconds, differing, remaining, outsideBytes, consistent } = summary;
  const rate = formatBytes(Math.round(comparedBytes / Math.max(compareSeconds, 0.001)));
  const isRepaired = remaining.chunks.count < differing.chunks.count;
  // What still differs is the error's to say.
  const found = isRepaired ? `: ${describeDifferences(differing)}` : '';
  const verdict = isEmpty(differing) ? ': equal' : found;
  yield `${formatBytes(comparedBytes)} compared in ${formatDuration(compareSeconds)} (${rate}/s)${verdict}`;
  if (outsideBytes !== null && outsideBytes > 0) {
    yield (
      `warning: ${formatBytes(outsideBytes)} of it differ though ${names.changed ?? 'nothing'} does not name them ` +
      `as changed: ${names.b} did not start from what it froze, or was written since`
    );
  }
  if (!isEmpty(differing) && isEmpty(remaining)) {
    yield `${formatBytes(differing.changedBytes)} sent and compared again: ${names.b} equals ${names.a} there now`;
  }
  if (!consistent) {
    yield `warning: ${names.a} was in use while it was compared: what differs may have been written meanwhile`;
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
  const where =
    places === 1 ? `in one place, at byte ${first}` : `in ${places} places, the first at byte ${first}`;
  return `${formatBytes(differing.changedBytes)} differ ${where}`;
}

export function isEmpty(changes: ChangeSet): boolean {
  return changes.chunks.count === 0;
}
