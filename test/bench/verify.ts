import { randomFillSync } from 'node:crypto';
import { closeSync, copyFileSync, fsyncSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { race, sizeIn, workIn, type Bench } from './bench-run.js';
import type { Build } from './builds.js';
import { atMost, under } from './figures.js';
import { beside, byEachBuild, runLvmsyncIn } from './lvmsync-run.js';
import { recordRun, timeRun, UsageFolder } from './measure.js';
import { comparingPeers } from './peers.js';
import { sizeText } from './stores.js';
import { peakOf, speedOf, timeTo, type Rival } from './turns.js';
import { findDisk, findMemory, type Workplace } from './workplace.js';

/** What differs for a scan, in pieces of 64 KiB all over: 43 MB. */
const [PIECE, PIECES] = [65_536, 656];

/** A verify of two files of this host that are the same, in the page cache, beside cmp. */
export async function benchVerify(bench: Bench): Promise<void> {
  const bytes = sizeIn(bench, 2 ** 31, 2 ** 29);
  await workIn(bench, findMemory(2.1 * bytes), async (place) => {
    const [a, b] = writeTwins(place, bytes);
    bench.report.title(`two files of ${sizeText(bytes)} of this host, ${place.name}, beside cmp`);
    const near = new UsageFolder(path.join(place.folder, 'usage'));
    const verify = (build: Build) => async () => {
      const { seconds, stdout, memory } = await recordRun([build.program, 'verify', '--json', a, b], near);
      const { equal, comparedBytes } = JSON.parse(stdout) as { equal: boolean; comparedBytes: number };
      if (!equal || comparedBytes !== bytes) throw new Error(`verify said ${stdout}`);
      return { seconds, near: memory };
    };
    const peers = comparingPeers(bench.peers, a, b);
    const rivals: [string, Rival][] = [
      ...byEachBuild(bench.builds, { verify }),
      ['cmp', () => timeRun(['cmp', a, b])],
      ...peers,
    ];
    await race(bench, rivals, [
      { what: 'speed, of each file', ...speedOf('verify', bytes) },
      { what: 'time to cmp', ...timeTo('verify', 'cmp'), bar: atMost(1.2) },
      { what: 'time to other build', ...timeTo('verify', beside('verify')) },
      ...peers.map(([peer]) => ({ what: `time to ${peer}`, ...timeTo('verify', peer) })),
      { what: 'peak memory', ...peakOf('near', 'verify'), bar: under(150) },
    ]);
  });
}

/** A scan of two files of this host of which one percent differs, beside reading both at the same time. */
export async function benchScan(bench: Bench): Promise<void> {
  const bytes = 2 ** 32;
  await workIn(bench, findDisk(2.2 * bytes), async (place) => {
    const [a, b] = writeTwins(place, bytes);
    const changed = sizeText(PIECES * PIECE);
    bench.report.title(
      `two files of ${sizeText(bytes)} of which ${changed} differ, ${place.name}, pages cold, beside cat of both at once`,
    );
    const scan = (build: Build) => async () => {
      spoil(b, bytes);
      await forgetPages(a, b);
      const sample = await runLvmsyncIn(place.folder, build, ['--scan', a, b, '--json']);
      const { changedBytes } = JSON.parse(sample.stdout) as { changedBytes: number };
      if (changedBytes !== PIECES * PIECE) throw new Error(`scan said ${sample.stdout}`);
      return sample;
    };
    const cat = async () => {
      await forgetPages(a, b);
      const script = 'cat "$1" >/dev/null & cat "$2" >/dev/null; wait';
      return timeRun(['sh', '-c', script, 'sh', a, b]);
    };
    await race(
      bench,
      [...byEachBuild(bench.builds, { scan }), ['cat', cat]],
      [
        { what: 'speed, of each file', ...speedOf('scan', bytes) },
        { what: 'time to cat', ...timeTo('scan', 'cat'), bar: atMost(1.2) },
        { what: 'time to other build', ...timeTo('scan', beside('scan')) },
        { what: 'peak memory', ...peakOf('near', 'scan'), bar: under(150) },
      ],
    );
  });
}

function writeTwins({ folder }: Workplace, bytes: number): [string, string] {
  const [a, b] = [path.join(folder, 'a.img'), path.join(folder, 'b.img')];
  const piece = Buffer.alloc(2 ** 24);
  const handle = openSync(a, 'wx');
  for (let done = 0; done < bytes; done += piece.length) writeSync(handle, randomFillSync(piece));
  fsyncSync(handle);
  closeSync(handle);
  copyFileSync(a, b);
  return [a, b];
}

/** Pieces of other bytes, evenly over the file; and nothing of them waits to be written. */
function spoil(file: string, bytes: number): void {
  const handle = openSync(file, 'r+');
  const piece = Buffer.alloc(PIECE);
  const stride = Math.floor(bytes / PIECES / PIECE) * PIECE;
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
