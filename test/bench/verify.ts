import { randomFillSync } from 'node:crypto';
import { closeSync, copyFileSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { LVMSYNC } from './lvmsync-run.js';
import { readPeakMemory, recordedNode, runInTurns, speedRatios, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { findDisk, findMemory, leave, type Workplace } from './workplace.js';

const ROUNDS = 5;
const VOLUME_BYTES = 2 ** 30;
const SPACE_NEEDED = 2.1 * VOLUME_BYTES;
const MEMORY_BAR = 150e6;

/** A verify of two files of this host, beside sha256sum of one of them, and of both at the same time. */
export async function benchVerify(bars: Bars): Promise<void> {
  title('verify: a volume of 1 GiB against its copy, both on this host, beside cat FILE | sha256sum');
  const memory = findMemory(SPACE_NEEDED);
  const place = typeof memory === 'string' ? findDisk(SPACE_NEEDED) : memory;
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
  const timeVerify = async (): Promise<number> => {
    const words = ['verify', '--json', a, b];
    const environment = { ...process.env, BENCH_MEMORY_FILE: memoryFile };
    const { seconds, stdout } = await timeRun([...recordedNode(LVMSYNC), ...words], environment);
    const { equal, comparedBytes } = JSON.parse(stdout) as { equal: boolean; comparedBytes: number };
    if (!equal || comparedBytes !== VOLUME_BYTES) throw new Error(`verify said ${stdout}`);
    peakMemory = Math.max(peakMemory, readPeakMemory(memoryFile));
    return seconds;
  };
  const timeShell = (script: string) => async (): Promise<number> =>
    (await timeRun(['sh', '-c', script, 'sh', a, b])).seconds;
  const seconds = await runInTurns(
    {
      verify: timeVerify,
      one: timeShell('cat "$1" | sha256sum'),
      both: timeShell('cat "$1" | sha256sum & cat "$2" | sha256sum; wait'),
    },
    ROUNDS,
  );

  const speed = (taken: readonly number[]): string =>
    rate(spreadOf(taken.map((each) => VOLUME_BYTES / each / 1e6)), 'MB/s');
  line(place.name, 'each side as many');
  line('  lvmsync verify, both files', speed(seconds.verify));
  line('  cat | sha256sum, one file', speed(seconds.one));
  line('  the same, both at once', speed(seconds.both));
  line('  verify to one file', rate(speedRatios(seconds.verify, seconds.one), '×', 2));
  line('  verify to both at once', rate(speedRatios(seconds.verify, seconds.both), '×', 2));
  const bar = bars.check('verify', peakMemory < MEMORY_BAR, `under ${megabytes(MEMORY_BAR)}`);
  line('', `peak ${megabytes(peakMemory)}`, bar);
}

function writeRandomFile(file: string): void {
  const piece = Buffer.alloc(16 * 2 ** 20);
  const handle = openSync(file, 'wx');
  for (let done = 0; done < VOLUME_BYTES; done += piece.length) writeSync(handle, randomFillSync(piece));
  closeSync(handle);
}
