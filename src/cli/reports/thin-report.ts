import { sumLengths } from '../../bytes/extent.js';
import type { ThinReport } from '../../jobs/inspect.js';
import { formatBytes, formatShare } from '../../bytes/amounts.js';
import { extentsJson } from './change-map.js';
import { describeInvalid, describeMap } from './inspect-report.js';

/** What changed since a thin snapshot, for people; with a map if there is a terminal of `columns`. */
export function* describeThin(report: ThinReport, columns: number | null): Generator<string> {
  const { name, contents, problem } = report;
  if (contents === null) {
    yield* describeInvalid(name, problem?.message ?? '');
    return;
  }
  const { changes, chunkSize, poolSize, poolUsed, poolMetadataSize, poolMetadataUsed } = contents;
  const { changedBytes, trackedSize, volumeSize } = changes;
  const size = volumeSize ?? 0;
  yield `${name}: thin snapshot\n`;
  yield `  chunk size  ${formatBytes(chunkSize)}\n`;
  yield `  changed     ${formatBytes(changedBytes)}, ${formatShare(changedBytes, size)} of ${formatBytes(size)}\n`;
  yield `  discarded   ${formatBytes(sumLengths(changes.discardedExtents()))} of that\n`;
  if (trackedSize !== null && size > trackedSize) {
    yield `  grown       by ${formatBytes(size - trackedSize)} since the snapshot; all of that counts as changed\n`;
  }
  yield `  pool        ${formatShare(poolUsed, poolSize)} full (${formatBytes(poolUsed)} of ${formatBytes(poolSize)})\n`;
  yield `  metadata    ${formatShare(poolMetadataUsed, poolMetadataSize)} full (${formatBytes(poolMetadataUsed)} of ${formatBytes(poolMetadataSize)})\n`;
  yield* describeMap(changes, columns);
}

/** The same as one JSON object, in pieces. */
export function* thinJson({ type, contents, problem }: ThinReport, withExtents: boolean): Generator<string> {
  if (contents === null) {
    yield `${JSON.stringify({ type, valid: false, reason: problem?.message })}\n`;
    return;
  }
  const { changes, chunkSize, poolSize, poolUsed, poolMetadataSize, poolMetadataUsed } = contents;
  const { volumeSize, changedBytes } = changes;
  const discardedBytes = sumLengths(changes.discardedExtents());
  const facts = {
    chunkSize,
    volumeSize,
    changedBytes,
    discardedBytes,
    poolSize,
    poolUsed,
    poolMetadataSize,
    poolMetadataUsed,
  };
  const json = JSON.stringify({ type, valid: true, ...facts });
  if (!withExtents) {
    yield `${json}\n`;
    return;
  }
  yield `${json.slice(0, -1)},"extents":`;
  yield* extentsJson(changes.extents());
  yield '}\n';
}
