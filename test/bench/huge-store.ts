import { closeSync, ftruncateSync, openSync, rmSync } from 'node:fs';
import path from 'node:path';
import { workIn, type Bench } from './bench-run.js';
import { LVMSYNC } from './builds.js';
import { spreadOf, under, type Bar } from './figures.js';
import { recordRun, UsageFolder } from './measure.js';
import { scatter, writeSparseStore } from './stores.js';
import { findMemory, type Workplace } from './workplace.js';

const EXCEPTIONS = 100_000_000;
const CHUNK_SECTORS = 8;
const CHUNK = CHUNK_SECTORS * 512;
/** 16 TiB of 4 KiB chunks: 2^17 groups of 2^15, which are the block groups of an ext4 with blocks of 4 KiB. */
const GROUP_BITS = 17;
const CHUNK_BITS = 15;
const VOLUME_SIZE = 2 ** (GROUP_BITS + CHUNK_BITS) * CHUNK;
/** How many groups hold all changes, where they cluster: an eighth. */
const BUSY_GROUPS = 2 ** (GROUP_BITS - 3);
const MEMORY_BAR = under(400);
/** What the tables of a sparse store take. */
const SPACE = 2e9;

/** What `inspect` takes for a snapshot of 400 GB of changes, without their extents. */
export async function benchHugeStore(bench: Bench): Promise<void> {
  // The file systems of disks have no files of 16 TiB, sparse or not, and take minutes to forget a store.
  await workIn(bench, findMemory(SPACE), async (place) => {
    bench.report.title(
      'inspect of 100 million exceptions, 4 KiB chunks, of a volume of 16 TiB (sparse files)',
    );
    const origin = path.join(place.folder, 'origin');
    const file = openSync(origin, 'wx');
    ftruncateSync(file, VOLUME_SIZE);
    closeSync(file);
    const clustered = {
      what: 'runs in an eighth of the groups',
      chunkAt: clusteredChunks(),
      bar: MEMORY_BAR,
    };
    await inspectStore(bench, place, origin, clustered);
    await inspectStore(bench, place, origin, {
      what: 'evenly at random',
      chunkAt: scatteredChunk,
      bar: null,
    });
  });
}

interface Case {
  readonly what: string;
  readonly chunkAt: (index: number) => number;
  readonly bar: Bar | null;
}

async function inspectStore(
  { report }: Bench,
  { folder }: Workplace,
  origin: string,
  { what, chunkAt, bar }: Case,
): Promise<void> {
  const store = path.join(folder, 'store.cow');
  writeSparseStore(store, CHUNK_SECTORS, EXCEPTIONS, chunkAt);
  const near = new UsageFolder(path.join(folder, 'usage'));
  const words = ['inspect', '--cow', store, '--origin', origin, '--json'];
  const { seconds, stdout, memory } = await recordRun([LVMSYNC, ...words], near);
  rmSync(store);
  const { exceptions, changedBytes } = JSON.parse(stdout) as { exceptions: number; changedBytes: number };
  if (exceptions !== EXCEPTIONS || changedBytes !== EXCEPTIONS * CHUNK) {
    throw new Error(`${store}: ${stdout.trim()} where ${EXCEPTIONS} distinct chunks were written`);
  }
  report.figure({ what, unit: 's', spread: spreadOf([seconds]), runs: 1, bar: null });
  report.figure({ what: 'peak memory', unit: 'MB', spread: spreadOf([memory / 1e6]), runs: 1, bar });
}

/**
 * Chunks as file systems change them: runs of 1 to 512 with as large gaps, within some block groups, a run here and a
 * run there. To be asked in order.
 */
function clusteredChunks(): (index: number) => number {
  const cursors = new Uint16Array(BUSY_GROUPS);
  let [group, left, state] = [0, 0, 1];
  const draw = () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 23;
  return () => {
    if (left === 0) {
      // Until there is no more room in any: 6,104 of the 32,768 chunks of each are wanted.
      do group = (group + 1 + draw()) % BUSY_GROUPS;
      while ((cursors[group] ?? 0) + 1024 >= 2 ** CHUNK_BITS);
      left = 1 + draw();
      cursors[group] = (cursors[group] ?? 0) + 1 + draw();
    }
    left -= 1;
    const within = cursors[group] ?? 0;
    cursors[group] = within + 1;
    return scatter(group, GROUP_BITS) * 2 ** CHUNK_BITS + within;
  };
}

/** Some of each group, all groups in turn. */
function scatteredChunk(index: number): number {
  const groups = 2 ** GROUP_BITS;
  return (
    scatter(index % groups, GROUP_BITS) * 2 ** CHUNK_BITS + scatter(Math.floor(index / groups), CHUNK_BITS)
  );
}
