import { randomFillSync } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { race, workIn, type Bench } from './bench-run.js';
import { ChangedVolume, halfChanged, spaceOf, type Rewrite } from './changed-volume.js';
import { atLeast } from './figures.js';
import { PLAIN } from './local-sync.js';
import { beside, byEachBuild, syncRival } from './lvmsync-run.js';
import { startSshd } from './sshd.js';
import { sizeText } from './stores.js';
import { speedOf, speedTo, type Plan, type Reading } from './turns.js';
import { findAny, type Workplace } from './workplace.js';

const MIB = 2 ** 20;

const WAYS = {
  off: ['--codec', 'none'],
  auto: [],
  zstd: ['--codec', 'zstd'],
  brotli: ['--codec', 'brotli'],
  zlib: ['--codec', 'zlib'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

type Way = keyof typeof WAYS;

/** What is sent, how many bytes, a power of two, and over what line. */
interface Case {
  readonly what: string;
  readonly bytes: number;
  readonly limit: readonly string[];
  readonly fill: () => Rewrite;
  readonly ways: readonly Way[];
}

const CODECS: readonly Way[] = ['zstd', 'brotli', 'zlib'];
const SLOW = ['--bwlimit', '20MB'];
const CASES: readonly Case[] = [
  { what: 'program text, no limit', bytes: 512 * MIB, limit: [], fill: programText, ways: CODECS },
  { what: 'random bytes, no limit', bytes: 512 * MIB, limit: [], fill: randomBytes, ways: [] },
  { what: 'program text, 20 MB/s', bytes: 128 * MIB, limit: SLOW, fill: programText, ways: CODECS },
];
/** What may be lost to chance: a trial of compression that does not pay must cost less. */
const AUTO_BAR = 0.9;

/** The codecs side by side, over ssh to sshd on loopback, as fast as that is and as slow as a line may be. */
export async function benchCompression(bench: Bench): Promise<void> {
  for (const each of CASES) {
    const shape = halfChanged(each.bytes);
    await workIn(bench, findAny(spaceOf(shape)), (place) => benchCase(bench, place, each));
  }
}

async function benchCase(
  bench: Bench,
  { folder }: Workplace,
  { what, bytes, limit, fill, ways }: Case,
): Promise<void> {
  const sshd = await startSshd(folder, bench.builds);
  if (typeof sshd === 'string') {
    bench.report.skip(sshd);
    return;
  }
  const volume = new ChangedVolume(folder, halfChanged(bytes), fill());
  bench.report.title(`${sizeText(volume.changedBytes)} over ssh, loopback, scattered 64 KiB chunks; ${what}`);
  const all: readonly Way[] = ['off', 'auto', ...ways];
  const goal = sshd.goal(volume.target, sshd.port);
  const syncs = all.map((way) => [way, syncRival(volume, goal, [...PLAIN, ...limit, ...WAYS[way]])] as const);
  const rivals = byEachBuild(bench.builds, Object.fromEntries(syncs));
  await race(bench, rivals, [
    ...all.map((way): Plan => ({ what: way, ...speedOf(way, volume.changedBytes) })),
    ...all.map((way): Plan => ({ what: `${way}: on the line`, ...sentBy(way) })),
    { what: 'auto: speed to off', ...speedTo('auto', 'off'), bar: atLeast(AUTO_BAR) },
    { what: 'auto: speed to other build', ...speedTo('auto', beside('auto')) },
  ]).finally(() => sshd.stop());
}

function sentBy(way: Way): Reading {
  return { unit: 'MB', of: [way], read: (sample) => (sample.sent ?? NaN) / 1e6 };
}

/** Machine code, tables and text of this Node, again and again: it compresses about as well as a system's files do. */
function programText(): Rewrite {
  const program = openSync(process.execPath, 'r');
  const { size } = fstatSync(program);
  const bytes = Buffer.alloc(Math.min(size, 64 * MIB));
  readSync(program, bytes, 0, bytes.length, 0);
  closeSync(program);
  let at = 0;
  return (chunk) => {
    if (at + chunk.length > bytes.length) at = 0;
    bytes.copy(chunk, 0, at, at + chunk.length);
    at += chunk.length;
  };
}

function randomBytes(): Rewrite {
  return (chunk) => randomFillSync(chunk);
}
