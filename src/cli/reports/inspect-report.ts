import type { ChangeSet } from '../../changes/change-set.js';
import type { StoreReport, StreamReport } from '../../jobs/inspect.js';
import { formatBytes, formatShare } from '../../bytes/amounts.js';
import { drawChangeMap, extentsJson } from './change-map.js';

const MAP_ROWS = 8;

/** A store for people; with a map if there is a terminal of `columns`. */
export function* describeExceptionStore(report: StoreReport, columns: number | null): Generator<string> {
  const { name, store, problem } = report;
  if (store === null) {
    yield* describeInvalid(name, problem?.message ?? '');
    return;
  }
  const { changes, chunkSize, exceptions, storeUsed, storeSize } = store;
  const { volumeSize, changedBytes, trackedSize } = changes;
  yield `${name}: valid exception store\n`;
  yield `  chunk size  ${formatBytes(chunkSize)}\n`;
  yield `  exceptions  ${exceptions}\n`;
  const share =
    volumeSize === null ? '' : `, ${formatShare(changedBytes, volumeSize)} of ${formatBytes(volumeSize)}`;
  yield `  changed     ${formatBytes(changedBytes)}${share}\n`;
  if (trackedSize !== null && volumeSize !== null && volumeSize > trackedSize) {
    yield `  grown       by ${formatBytes(volumeSize - trackedSize)} since the snapshot; all of that counts as changed\n`;
  }
  yield `  store       ${formatShare(storeUsed, storeSize)} full (${formatBytes(storeUsed)} of ${formatBytes(storeSize)})\n`;
  yield* describeMap(changes, columns);
}

/** An invalid store or snapshot, for people. */
export function* describeInvalid(name: string, reason: string): Generator<string> {
  // Most errors begin with the name.
  yield `${name}: NOT VALID\n`;
  yield `  reason      ${reason.startsWith(`${name}: `) ? reason.slice(name.length + 2) : reason}\n`;
}

/** A map of the changes in the volume, if there is a terminal of `columns` to draw it on. */
export function* describeMap(changes: ChangeSet, columns: number | null): Generator<string> {
  const { volumeSize } = changes;
  if (columns === null || volumeSize === null) return;
  const width = Math.max(16, Math.min(columns - 4, 100));
  for (const row of drawChangeMap(changes.extents(), volumeSize, width, MAP_ROWS)) yield `  ${row}\n`;
  const cell = formatBytes(volumeSize / (width * MAP_ROWS));
  yield `  (the volume; each character is ${cell}, from · unchanged to █ mostly changed)\n`;
}

/** A store as one JSON object, in pieces. */
export function* storeJson(report: StoreReport, withExtents: boolean): Generator<string> {
  const { store, problem } = report;
  if (store === null) {
    yield `${JSON.stringify({ type: report.type, valid: false, reason: problem?.message })}\n`;
    return;
  }
  const { changes, chunkSize, exceptions, storeUsed, storeSize } = store;
  const { volumeSize, changedBytes } = changes;
  const facts = { chunkSize, exceptions, volumeSize, changedBytes, storeSize, storeUsed };
  const json = JSON.stringify({ type: report.type, valid: true, ...facts });
  if (!withExtents) {
    yield `${json}\n`;
    return;
  }
  yield `${json.slice(0, -1)},"extents":`;
  yield* extentsJson(changes.extents());
  yield '}\n';
}

/** A stream or snapback for people. */
export function* describeStream(report: StreamReport): Generator<string> {
  const { name, protocol, header, problem } = report;
  yield `${name}: ${titleOf(report)}\n`;
  if (header !== null) {
    yield `  made        ${header.time} on ${header.host} by ${header.writer}\n`;
    yield `  from        ${header.names.source ?? '?'}${header.names.origin === undefined ? '' : ` of ${header.names.origin}`}\n`;
    yield `  volume      ${formatBytes(header.volumeSize)}, blocks of ${formatBytes(header.blockSize)}\n`;
    yield `  base        ${header.base ?? 'unknown'}\n`;
    yield `  result      ${header.result ?? 'unknown'}\n`;
  }
  yield `  blocks      ${report.blocks}\n`;
  yield `  data        ${formatBytes(report.dataBytes)}\n`;
  yield `  zeroes      ${formatBytes(report.zeroBytes)}\n`;
  yield `  discards    ${formatBytes(report.discardBytes)}\n`;
  if (problem !== null) yield `  NOT WHOLE   ${problem.message}\n`;
  else yield `  whole       ${protocol === 3 ? 'as far as can be told: PROTO[3] has no end mark' : 'yes'}\n`;
}

/** A stream or snapback as one line of JSON. `whole` is null where the format cannot tell. */
export function streamJson(report: StreamReport): string {
  const { type, protocol, header, blocks, dataBytes, zeroBytes, discardBytes, problem } = report;
  const valid = problem === null;
  const whole = valid ? (protocol === 3 ? null : true) : false;
  const facts = { protocol, whole, header, blocks, dataBytes, zeroBytes, discardBytes };
  return `${JSON.stringify({ type, valid, ...(valid ? {} : { reason: problem.message }), ...facts })}\n`;
}

function titleOf({ protocol, header }: StreamReport): string {
  if (protocol === null) return 'not readable as a stream';
  if (protocol === 3) return 'PROTO[3] stream of the Ruby tool';
  return header?.kind === 'undo'
    ? 'PROTO[4] snapback (undo archive)'
    : `PROTO[4] stream (${header?.kind ?? '?'})`;
}
