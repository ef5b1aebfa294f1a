import path from 'node:path';
import { readPeakMemory, recordedNode, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { chunksOf, makeRoom, writeDelta, writeMetadata } from './thin-deltas.js';
import { findDisk, leave } from './workplace.js';

const RANGES = 1_000_000;
const TOOL_CHUNKS = 400_000;
const ROUNDS = 5;
const MEMORY_BAR = 150e6;
/** The XML files, and the metadata. */
const SPACE = 400e6;

/** How fast a million ranges of thin_delta become a change set, and what the tool itself takes. */
export async function benchThin(bars: Bars): Promise<void> {
  title('thin: thin_delta’s output, one range in five discarded');
  const place = findDisk(SPACE);
  if (typeof place === 'string') {
    line('SKIPPED', place);
    return;
  }
  const memoryFile = path.join(place.folder, 'memory');
  const delta = path.join(place.folder, 'delta.xml');
  const changed = writeDelta(delta, RANGES);
  const parsed = await readRepeatedly(['xml', delta, String(chunksOf(RANGES))], memoryFile, {
    ranges: RANGES,
    changed,
  });
  line('a million ranges, from a file', rate(parsed.rate, 'M/s', 2));
  const bar = bars.check('thin', parsed.peakMemory < MEMORY_BAR, `under ${megabytes(MEMORY_BAR)}`);
  line('', `peak ${megabytes(parsed.peakMemory)}`, bar);
  const metadata = path.join(place.folder, 'metadata');
  const differing = writeMetadata(`${metadata}.xml`, TOOL_CHUNKS);
  makeRoom(metadata, 128 * 1024 * 1024);
  await timeRun(['thin_restore', '-i', `${metadata}.xml`, '-o', metadata]);
  const real = await readRepeatedly(['metadata', metadata, String(TOOL_CHUNKS)], memoryFile, {
    ranges: 2 * differing,
    changed: differing,
  });
  line('the real thin_delta, 200,000', rate(real.rate, 'M/s', 2), `peak ${megabytes(real.peakMemory)}`);
  leave(place);
}

/** Reads a delta, each time in a new process: millions of ranges a second, and the largest peak of memory in bytes. */
async function readRepeatedly(
  words: readonly string[],
  memoryFile: string,
  expected: { readonly ranges: number; readonly changed: number },
) {
  const rates: number[] = [];
  let peakMemory = 0;
  const script = path.join(import.meta.dirname, 'parse-thin.js');
  for (let round = 0; round < ROUNDS; round++) {
    const argv = [...recordedNode(script), ...words] as [string, ...string[]];
    const { stdout } = await timeRun(argv, { ...process.env, BENCH_MEMORY_FILE: memoryFile });
    const found = JSON.parse(stdout) as { ranges: number; changed: number; seconds: number };
    if (found.ranges !== expected.ranges || found.changed !== expected.changed) {
      throw new Error(`${words.join(' ')}: ${stdout.trim()} instead of ${JSON.stringify(expected)}`);
    }
    rates.push(found.ranges / found.seconds / 1e6);
    peakMemory = Math.max(peakMemory, readPeakMemory(memoryFile));
  }
  return { rate: spreadOf(rates), peakMemory };
}
