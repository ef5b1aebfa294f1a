import path from 'node:path';
import { workIn, type Bench } from './bench-run.js';
import { atLeast, spreadOf, under } from './figures.js';
import { recordRun, UsageFolder } from './measure.js';
import { scatter, writeSparseStore } from './stores.js';
import { findDisk, type Workplace } from './workplace.js';

const EXCEPTIONS = 10_000_000;
const CHUNK_SECTORS = 8;
/** 1 TiB of 4 KiB chunks. */
const VOLUME_BITS = 28;
const VOLUME_SIZE = 2 ** VOLUME_BITS * 4096;

/** What the tables of the sparse store take. */
const SPACE = 400e6;

/** How fast 10 million exceptions become a change set. */
export async function benchParse(bench: Bench): Promise<void> {
  await workIn(bench, findDisk(SPACE), async (place) => {
    bench.report.title('10 million exceptions, 4 KiB chunks scattered over 1 TiB (sparse store)');
    const store = path.join(place.folder, 'store.cow');
    writeSparseStore(store, CHUNK_SECTORS, EXCEPTIONS, (index) => scatter(index, VOLUME_BITS));
    await readRepeatedly(bench, place, store, 'buffered');
    await readRepeatedly(bench, place, store, 'direct');
  });
}

/** Reads the store, each time in a new process. */
async function readRepeatedly(
  { report, form }: Bench,
  { folder, name }: Workplace,
  store: string,
  io: 'buffered' | 'direct',
): Promise<void> {
  const [rates, peaks]: [number[], number[]] = [[], []];
  const script = path.join(import.meta.dirname, 'parse-store.js');
  const near = new UsageFolder(path.join(folder, 'usage'));
  for (let round = 0; round < form.pairs; round++) {
    const { stdout, memory } = await recordRun([script, store, io, String(VOLUME_SIZE)], near);
    const found = JSON.parse(stdout) as { exceptions: number; chunks: number; seconds: number };
    if (found.exceptions !== EXCEPTIONS || found.chunks !== EXCEPTIONS) {
      throw new Error(`${store}: ${stdout.trim()} where ${EXCEPTIONS} distinct chunks were written`);
    }
    rates.push(EXCEPTIONS / found.seconds / 1e6);
    peaks.push(memory / 1e6);
  }
  const isCached = io === 'buffered';
  const what = isCached ? 'page cache' : `direct I/O, ${name}`;
  const runs = form.pairs;
  report.figure({ what, unit: 'M/s', spread: spreadOf(rates), runs, bar: isCached ? atLeast(5) : null });
  report.figure({ what: 'peak memory', unit: 'MB', spread: spreadOf(peaks), runs, bar: under(250) });
}
