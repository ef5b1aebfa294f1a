import { randomFillSync } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { userInfo } from 'node:os';
import path from 'node:path';
import { makeChangedVolume, type ChangedVolume } from './changed-volume.js';
import { LvmsyncRun } from './lvmsync-run.js';
import { runInTurns, speedRatios, spreadOf } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { startSshd, type Sshd } from './sshd.js';
import type { FillChunk } from './stores.js';
import { findDisk, findMemory, leave, type Workplace } from './workplace.js';

const MIB = 2 ** 20;
/** What is sent, half of a volume of so many 64 KiB chunks (a power of two), and over what line. */
const CASES = [
  {
    what: 'program text, no limit',
    bits: 14,
    rounds: 3,
    limit: [],
    fill: programText,
    ways: ['zstd', 'brotli', 'zlib'],
  },
  { what: 'random bytes, no limit', bits: 14, rounds: 5, limit: [], fill: randomBytes, ways: [] },
  {
    what: 'program text, --bwlimit 20MB',
    ...{
      bits: 12,
      rounds: 3,
      limit: ['--bwlimit', '20MB'],
      fill: programText,
      ways: ['zstd', 'brotli', 'zlib'],
    },
  },
] as const;
/** What may be lost to chance: a trial of compression that does not pay must cost less. */
const AUTO_BAR = 0.9;

const WAYS = {
  off: ['--codec', 'none'],
  auto: [],
  zstd: ['--codec', 'zstd'],
  brotli: ['--codec', 'brotli'],
  zlib: ['--codec', 'zlib'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

type Way = keyof typeof WAYS;
const ALWAYS: readonly Way[] = ['off', 'auto'];

/** The codecs side by side, over ssh to sshd on loopback, as fast as that is and as slow as a line may be. */
export async function benchCompression(bars: Bars): Promise<void> {
  title('compression over ssh, loopback, scattered 64 KiB chunks; program text is that of this Node');
  for (const each of CASES) {
    const bytesNeeded = 5 * 2 ** each.bits * 65_536;
    const memory = findMemory(bytesNeeded);
    const place = typeof memory === 'string' ? findDisk(bytesNeeded) : memory;
    if (typeof place === 'string') {
      line('SKIPPED', place);
      continue;
    }
    const sshd = await startSshd(place.folder);
    try {
      if (typeof sshd === 'string') line('SKIPPED', sshd);
      else await benchCase(sshd, place, each, bars).finally(() => sshd.stop());
    } finally {
      leave(place);
    }
  }
}

async function benchCase(
  sshd: Sshd,
  place: Workplace,
  { what, bits, rounds, limit, fill, ways }: (typeof CASES)[number],
  bars: Bars,
): Promise<void> {
  const volume = makeChangedVolume(place, { bits, fill: fill() });
  line(`${megabytes(volume.changedBytes)}, ${what}`);
  const runs = new Map(
    [...ALWAYS, ...(ways as readonly Way[])].map((way) => [
      way,
      runOf(sshd, place, volume, [...limit, ...WAYS[way]]),
    ]),
  );
  const seconds = await runInTurns(
    Object.fromEntries([...runs].map(([way, run]) => [way, run.time])),
    rounds,
  );
  volume.verify();
  for (const [way, { sentBytes }] of runs) {
    const speed = spreadOf((seconds[way] ?? []).map((each) => volume.changedBytes / each / 1e6));
    line(`  ${way}`, rate(speed, 'MB/s'), `${megabytes(sentBytes)} on the line`);
  }
  const ratio = speedRatios(seconds['auto'] ?? [], seconds['off'] ?? []);
  const bar = bars.check(`compression, ${what}`, ratio.median >= AUTO_BAR, `at least ${AUTO_BAR}`);
  line('  auto to off', rate(ratio, '×', 2), bar);
}

function runOf(sshd: Sshd, place: Workplace, volume: ChangedVolume, words: readonly string[]): LvmsyncRun {
  const target = `ssh://${userInfo().username}@127.0.0.1:${sshd.port}${volume.target}`;
  const environment = { ...process.env, PATH: `${sshd.commands}:${process.env['PATH'] ?? ''}` };
  const options = ['--no-journal', '--whole-chunks', ...words];
  return new LvmsyncRun(volume, target, path.join(place.folder, 'memory'), environment, options);
}

/** Machine code, tables and text, again and again: it compresses about as well as the files of a system do. */
function programText(): FillChunk {
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

function randomBytes(): FillChunk {
  return (chunk) => randomFillSync(chunk);
}
