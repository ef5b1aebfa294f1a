import path from 'node:path';
import { workIn, type Bench } from './bench-run.js';
import { spreadOf, under } from './figures.js';
import { recordRun, timeRun, UsageFolder } from './measure.js';
import { chunksOf, makeRoom, writeDelta, writeMetadata } from './thin-deltas.js';
import { findDisk, type Workplace } from './workplace.js';

const RANGES = 1_000_000;
const TOOL_CHUNKS = 400_000;
/** The XML files, and the metadata. */
const SPACE = 400e6;

/** A delta to read: the words of parse-thin.js, and what has to come out. */
interface Delta {
  readonly what: string;
  readonly words: readonly string[];
  readonly ranges: number;
  readonly changed: number;
}

/** How fast a million ranges of thin_delta become a change set, and what the tool itself takes. */
export async function benchThin(bench: Bench): Promise<void> {
  await workIn(bench, findDisk(SPACE), async (place) => {
    bench.report.title('thin_delta’s output, one range in five discarded');
    const delta = path.join(place.folder, 'delta.xml');
    const changed = writeDelta(delta, RANGES);
    const words = ['xml', delta, String(chunksOf(RANGES))];
    await readRepeatedly(bench, place, {
      what: 'a million ranges, from a file',
      words,
      ranges: RANGES,
      changed,
    });
    const metadata = path.join(place.folder, 'metadata');
    const differing = writeMetadata(`${metadata}.xml`, TOOL_CHUNKS);
    makeRoom(metadata, 128 * 1024 * 1024);
    await timeRun(['thin_restore', '-i', `${metadata}.xml`, '-o', metadata]);
    await readRepeatedly(bench, place, {
      what: 'the real thin_delta, 200,000',
      words: ['metadata', metadata, String(TOOL_CHUNKS)],
      ranges: 2 * differing,
      changed: differing,
    });
  });
}

/** Reads a delta, each time in a new process. */
async function readRepeatedly(
  { report, form }: Bench,
  { folder }: Workplace,
  { what, words, ranges, changed }: Delta,
): Promise<void> {
  const [rates, peaks]: [number[], number[]] = [[], []];
  const script = path.join(import.meta.dirname, 'parse-thin.js');
  const near = new UsageFolder(path.join(folder, 'usage'));
  for (let round = 0; round < form.pairs; round++) {
    const { stdout, memory } = await recordRun([script, ...words], near);
    const found = JSON.parse(stdout) as { ranges: number; changed: number; seconds: number };
    if (found.ranges !== ranges || found.changed !== changed) {
      throw new Error(`${words.join(' ')}: ${stdout.trim()} instead of ${ranges} ranges, ${changed} changed`);
    }
    rates.push(found.ranges / found.seconds / 1e6);
    peaks.push(memory / 1e6);
  }
  const runs = form.pairs;
  report.figure({ what, unit: 'M/s', spread: spreadOf(rates), runs, bar: null });
  report.figure({ what: 'peak memory', unit: 'MB', spread: spreadOf(peaks), runs, bar: under(150) });
}
