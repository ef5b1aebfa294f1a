import { randomFillSync } from 'node:crypto';
import { closeSync, openSync, rmSync } from 'node:fs';
import path from 'node:path';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { race, workIn, type Bench } from './bench-run.js';
import type { Build } from './builds.js';
import { atMost, under } from './figures.js';
import { beside, byEachBuild } from './lvmsync-run.js';
import { recordRun, timeRun, UsageFolder } from './measure.js';
import { fileSink, scatter } from './stores.js';
import { peakOf, speedOf, timeTo } from './turns.js';
import { findDisk, findMemory, type Workplace } from './workplace.js';

const ARCHIVES = 24;
const ARCHIVE_BYTES = 64 * 2 ** 20;
const VOLUME_BYTES = 4 * 2 ** 30;
const BLOCK = 65_536;
const TOTAL_BYTES = ARCHIVES * ARCHIVE_BYTES;

/** Combining archives beside cat of the same bytes into a file, which is then flushed as ours is. */
export async function benchCombine(bench: Bench): Promise<void> {
  for (const find of [findMemory, findDisk]) {
    await workIn(bench, find(3 * TOTAL_BYTES), (place) => benchPlace(bench, place));
  }
}

async function benchPlace(bench: Bench, { folder, name }: Workplace): Promise<void> {
  const what = `${ARCHIVES} archives of 64 MiB, 64 KiB blocks anywhere in 4 GiB`;
  bench.report.title(`${what}, ${name}, beside cat and sync`);
  const files: string[] = [];
  for (let index = 0; index < ARCHIVES; index++) files.push(await writeArchiveFile(folder, index));
  const [ours, theirs] = [path.join(folder, 'ours'), path.join(folder, 'theirs')];
  const near = new UsageFolder(path.join(folder, 'usage'));
  const combine = (build: Build) => async () => {
    rmSync(ours, { force: true });
    const { seconds, memory } = await recordRun([build.program, 'combine', '-o', ours, ...files], near);
    return { seconds, near: memory };
  };
  const cat = () => {
    rmSync(theirs, { force: true });
    const script = 'out=$1; shift; cat "$@" >"$out" && sync "$out"';
    return timeRun(['sh', '-c', script, 'sh', theirs, ...files]);
  };
  await race(
    bench,
    [...byEachBuild(bench.builds, { combine }), ['cat', cat]],
    [
      { what: 'speed', ...speedOf('combine', TOTAL_BYTES) },
      { what: 'time to cat and sync', ...timeTo('combine', 'cat'), bar: atMost(1.5) },
      { what: 'time to other build', ...timeTo('combine', beside('combine')) },
      { what: 'peak memory', ...peakOf('near', 'combine'), bar: under(150) },
    ],
  );
}

/** Of any two archives some blocks are the same place: as many as chance makes them. */
async function writeArchiveFile(folder: string, index: number): Promise<string> {
  const file = path.join(folder, `archive-${index}`);
  const handle = openSync(file, 'w');
  const writer = new FrameWriter(fileSink(handle), { indexed: true });
  await writer.start({
    ...{ kind: 'undo', volumeSize: VOLUME_BYTES, blockSize: 4096, expectedBytes: ARCHIVE_BYTES },
    ...{ base: `state ${ARCHIVES - index}`, result: `state ${ARCHIVES - index - 1}`, names: {} },
    ...{ host: '', time: '2026-01-02T03:04:05Z', writer: 'bench' },
  });
  const count = ARCHIVE_BYTES / BLOCK;
  const blocks = Array.from({ length: count }, (_, nth) => scatter(nth + index * (count / 2), 16));
  const bytes = randomFillSync(Buffer.alloc(BLOCK));
  for (const block of blocks.sort((a, b) => a - b)) {
    bytes.writeUInt32BE(block);
    await writer.data(block * BLOCK, bytes);
  }
  await writer.finish();
  closeSync(handle);
  return file;
}
