import path from 'node:path';
import { readPeakMemory, recordedNode, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { scatter, writeSparseStore } from './stores.js';
import { findDisk, leave } from './workplace.js';

const EXCEPTIONS = 10_000_000;
const CHUNK_SECTORS = 8;
/** 1 TiB of 4 KiB chunks. */
const VOLUME_BITS = 28;
const VOLUME_SIZE = 2 ** VOLUME_BITS * 4096;
const ROUNDS = 5;

const RATE_BAR = 5;
const MEMORY_BAR = 250e6;
/** What the tables of the sparse store take. */
const SPACE = 400e6;

/** How fast 10 million exceptions become a change set. */
export async function benchParse(bars: Bars): Promise<void> {
  title('parse: 10 million exceptions, 4 KiB chunks scattered over 1 TiB (sparse store)');
  const place = findDisk(SPACE);
  if (typeof place === 'string') {
    line('SKIPPED', place);
    return;
  }
  const store = path.join(place.folder, 'store.cow');
  writeSparseStore(store, CHUNK_SECTORS, EXCEPTIONS, (index) => scatter(index, VOLUME_BITS));
  const memoryFile = path.join(place.folder, 'memory');

  const cached = await readRepeatedly(store, 'buffered', memoryFile);
  const rateBar = bars.check('parse', cached.rate.median >= RATE_BAR, `at least ${RATE_BAR} M/s`);
  const memoryBar = bars.check('parse', cached.peakMemory < MEMORY_BAR, `under ${megabytes(MEMORY_BAR)}`);
  line('page cache', rate(cached.rate, 'M/s', 1), rateBar);
  line('', `peak ${megabytes(cached.peakMemory)}`, memoryBar);
  const direct = await readRepeatedly(store, 'direct', memoryFile);
  line(`direct I/O, ${place.name}`, rate(direct.rate, 'M/s', 1), `peak ${megabytes(direct.peakMemory)}`);
  leave(place);
}

/** Reads the store, each time in a new process: millions a second, and the largest peak of memory in bytes. */
async function readRepeatedly(store: string, io: 'buffered' | 'direct', memoryFile: string) {
  const rates: number[] = [];
  let peakMemory = 0;
  const script = path.join(import.meta.dirname, 'parse-store.js');
  for (let round = 0; round < ROUNDS; round++) {
    const argv = [...recordedNode(script), store, io, String(VOLUME_SIZE)] as [string, ...string[]];
    const { stdout } = await timeRun(argv, { ...process.env, BENCH_MEMORY_FILE: memoryFile });
    const found = JSON.parse(stdout) as { exceptions: number; chunks: number; seconds: number };
    if (found.exceptions !== EXCEPTIONS || found.chunks !== EXCEPTIONS) {
      throw new Error(`${store}: ${stdout.trim()} where ${EXCEPTIONS} distinct chunks were written`);
    }
    rates.push(EXCEPTIONS / found.seconds / 1e6);
    peakMemory = Math.max(peakMemory, readPeakMemory(memoryFile));
  }
  return { rate: spreadOf(rates), peakMemory };
}
