import { writeFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { FrameWriter } from '../../../src/stream/frame-writer.js';
import { announced } from '../../support/blocks.js';
import { someHeader } from '../../support/scenes/feed.js';
import { collectingSink } from '../../support/streams.js';

const SECTOR = 512;
const LONGEST = 1024 * 1024;

/** Between which states an archive leads: their identities, or null. */
export interface Between {
  readonly base: string | null;
  readonly result: string | null;
}

/**
 * Writes an archive that leads from `after` back to `before`: just the sectors that differ, zeroes as such. It says of
 * `after` what a receiver's would, which announces what it writes.
 */
export async function writeUndo(
  path: string,
  before: Buffer,
  after: Buffer,
  { base, result }: Between,
): Promise<void> {
  const sink = collectingSink();
  const writer = new FrameWriter(sink, { indexed: true });
  await writer.start({ ...someHeader(after.length), kind: 'undo', blockSize: SECTOR, base, result });
  const runs = [...differingRuns(before, after)];
  for (const [offset, end] of runs) {
    const bytes = before.subarray(offset, end);
    if (bytes.every((byte) => byte === 0)) await writer.zero(offset, bytes.length);
    else await writer.data(offset, bytes);
  }
  const writes = runs.map(([offset, end]) => {
    const written = after.subarray(offset, end);
    const zeroes = written.every((byte) => byte === 0);
    return { offset, length: end - offset, zeroes, crc: zeroes ? 0 : crc32(written) };
  });
  await writer.announce(announced(...writes));
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
