import { writeFileSync } from 'node:fs';
import { FrameWriter } from '../../../src/stream/frame-writer.js';
import { someHeader } from '../../stream/feed.js';
import { collectingSink } from '../../support/streams.js';

const SECTOR = 512;
const LONGEST = 1024 * 1024;

/** Between which states an archive leads: their identities, or null. */
export interface Between {
  readonly base: string | null;
  readonly result: string | null;
}

/** Writes an archive that leads from `after` back to `before`: just the sectors that differ, zeroes as such. */
export async function writeUndo(
  path: string,
  before: Buffer,
  after: Buffer,
  { base, result }: Between,
): Promise<void> {
  const sink = collectingSink();
  const writer = new FrameWriter(sink, { indexed: true });
  await writer.start({ ...someHeader(after.length), kind: 'undo', blockSize: SECTOR, base, result });
  for (const [offset, end] of differingRuns(before, after)) {
    const bytes = before.subarray(offset, end);
    if (bytes.every((byte) => byte === 0)) await writer.zero(offset, bytes.length);
    else await writer.data(offset, bytes);
  }
  await writer.finish();
  writeFileSync(path, sink.bytes());
}

function* differingRuns(before: Buffer, after: Buffer): Generator<readonly [number, number]> {
  let start = -1;
  for (let at = 0; at <= after.length; at += SECTOR) {
    const end = Math.min(at + SECTOR, after.length);
    const differs = at < after.length && after.compare(before, at, end, at, end) !== 0;
    if (start !== -1 && (!differs || at - start === LONGEST)) {
      yield [start, at];
      start = -1;
    }
    if (differs && start === -1) start = at;
  }
}
