import { closeSync, openSync, rmSync } from 'node:fs';
import path from 'node:path';
import { randomFillSync } from 'node:crypto';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { LVMSYNC } from './lvmsync-run.js';
import { readPeakMemory, recordedNode, runInTurns, speedRatios, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { fileSink, scatter } from './stores.js';
import { findDisk, findMemory, leave, type Workplace } from './workplace.js';

const ROUNDS = 3;
const ARCHIVES = 24;
const ARCHIVE_BYTES = 64 * 2 ** 20;
const VOLUME_BYTES = 4 * 2 ** 30;
const BLOCK = 65_536;
const TOTAL_BYTES = ARCHIVES * ARCHIVE_BYTES;
const TIME_BAR = 1.5;
const MEMORY_BAR = 150e6;

/** Combining archives beside cat of the same bytes into a file, which is then flushed as ours is. */
export async function benchCombine(bars: Bars): Promise<void> {
  title(`combine: ${ARCHIVES} archives of 64 MiB, 64 KiB blocks anywhere in 4 GiB, beside cat and sync`);
  for (const find of [findMemory, findDisk]) {
    const place = find(3 * TOTAL_BYTES);
    if (typeof place === 'string') {
      line('SKIPPED', place);
      continue;
    }
    try {
      await benchPlace(place, bars);
    } finally {
      leave(place);
    }
  }
}

async function benchPlace(place: Workplace, bars: Bars): Promise<void> {
  const { folder } = place;
  const files: string[] = [];
  for (let index = 0; index < ARCHIVES; index++) files.push(await writeArchiveFile(folder, index));
  const [ours, theirs, memory] = ['ours', 'theirs', 'memory'].map((name) => path.join(folder, name));
  let peak = 0;
  const combine = async () => {
    rmSync(ours ?? '', { force: true });
    const words = ['combine', '-o', ours ?? '', ...files];
    const environment = { ...process.env, BENCH_MEMORY_FILE: memory };
    const { seconds } = await timeRun([...recordedNode(LVMSYNC), ...words], environment);
    peak = Math.max(peak, readPeakMemory(memory ?? ''));
    return seconds;
  };
  const cat = async () => {
    rmSync(theirs ?? '', { force: true });
    const script = 'out=$1; shift; cat "$@" >"$out" && sync "$out"';
    return (await timeRun(['sh', '-c', script, 'sh', theirs ?? '', ...files])).seconds;
  };
  const seconds = await runInTurns({ combine, cat }, ROUNDS);
  line(place.name);
  for (const name of ['combine', 'cat'] as const) {
    line(`  ${name}`, rate(spreadOf(seconds[name].map((each) => TOTAL_BYTES / each / 1e6)), 'MB/s'));
  }
  const cost = speedRatios(seconds.cat, seconds.combine);
  const isFast = bars.check('combine', cost.median <= TIME_BAR, `at most ${TIME_BAR} times the time of cat`);
  line('  time of combine to cat', rate(cost, '×', 2), isFast);
  line('  peak memory', megabytes(peak), bars.check('combine, memory', peak < MEMORY_BAR, 'under 150 MB'));
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
