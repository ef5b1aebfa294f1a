import { randomFillSync } from 'node:crypto';
import { closeSync, copyFileSync, fsyncSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { LVMSYNC } from './lvmsync-run.js';
import { readPeakMemory, recordedNode, runInTurns, speedRatios, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { findDisk, leave, type Workplace } from './workplace.js';

const ROUNDS = 3;
const VOLUME_BYTES = 4 * 2 ** 30;
const SPACE_NEEDED = 2.2 * VOLUME_BYTES;
/** What differs, in pieces of 64 KiB all over: 43 MB. */
const PIECE = 65_536;
const PIECES = 656;
const TIME_BAR = 1.5;
const MEMORY_BAR = 250e6;

/** A scan of two files of this host of which one percent differs, beside reading both once at the same time. */
export async function benchScan(bars: Bars): Promise<void> {
  title('scan: 4 GiB with 43 MB that differ, both on this host, beside reading both at once; pages cold');
  const place = findDisk(SPACE_NEEDED);
  if (typeof place === 'string') {
    line('SKIPPED', place);
    return;
  }
  await benchIn(place, bars).finally(() => {
    leave(place);
  });
}

async function benchIn(place: Workplace, bars: Bars): Promise<void> {
  const [a, b] = [path.join(place.folder, 'a.img'), path.join(place.folder, 'b.img')];
  writeRandomFile(a);
  copyFileSync(a, b);
  const memoryFile = path.join(place.folder, 'memory');
  let peakMemory = 0;
  const timeScan = async (): Promise<number> => {
    spoil(b);
    await forgetPages(a, b);
    const words = ['--scan', a, b, '--json', '--state-dir', path.join(place.folder, 'state')];
    const environment = { ...process.env, BENCH_MEMORY_FILE: memoryFile };
    const { seconds, stdout } = await timeRun([...recordedNode(LVMSYNC), ...words], environment);
    const { changedBytes } = JSON.parse(stdout) as { changedBytes: number };
    if (changedBytes !== PIECES * PIECE) throw new Error(`scan said ${stdout}`);
    peakMemory = Math.max(peakMemory, readPeakMemory(memoryFile));
    return seconds;
  };
  const timeReading = async (): Promise<number> => {
    await forgetPages(a, b);
    const script = 'cat "$1" >/dev/null & cat "$2" >/dev/null; wait';
    return (await timeRun(['sh', '-c', script, 'sh', a, b])).seconds;
  };
  const seconds = await runInTurns({ scan: timeScan, reading: timeReading }, ROUNDS);
  line(`${place.name}: lvmsync --scan`, rate(spreadOf(seconds.scan), 's', 1));
  line('  cat FILE >/dev/null, both', rate(spreadOf(seconds.reading), 's', 1));
  const times = speedRatios(seconds.reading, seconds.scan);
  line(
    '  scan to it',
    rate(times, '×', 2),
    bars.check('scan', times.median <= TIME_BAR, `at most ${TIME_BAR} ×`),
  );
  const bar = bars.check('scan', peakMemory < MEMORY_BAR, `under ${megabytes(MEMORY_BAR)}`);
  line('', `peak ${megabytes(peakMemory)}`, bar);
}

/** Pieces of other bytes, evenly over the file; and nothing of them waits to be written. */
function spoil(file: string): void {
  const handle = openSync(file, 'r+');
  const piece = Buffer.alloc(PIECE);
  const stride = Math.floor(VOLUME_BYTES / PIECES / PIECE) * PIECE;
  for (let index = 0; index < PIECES; index++) {
    writeSync(handle, randomFillSync(piece), 0, PIECE, index * stride);
  }
  fsyncSync(handle);
  closeSync(handle);
}

/** Takes what was written or read of our own files out of the page cache. */
async function forgetPages(...files: readonly string[]): Promise<void> {
  for (const file of files) await timeRun(['dd', `if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
}

function writeRandomFile(file: string): void {
  const piece = Buffer.alloc(16 * 2 ** 20);
  const handle = openSync(file, 'wx');
  for (let done = 0; done < VOLUME_BYTES; done += piece.length) writeSync(handle, randomFillSync(piece));
  fsyncSync(handle);
  closeSync(handle);
}
