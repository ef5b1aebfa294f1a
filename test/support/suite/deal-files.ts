import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { cacheFolder } from '../guest/cache-folder.js';
import type { GuestSystem } from '../guest/guest-system.js';
import type { FileEnded } from './report-lines.js';

/** A test file and where it is to run. */
export interface KernelItem {
  /** The system of the guest that it runs in; null: it runs on this machine, and boots guests itself. */
  readonly system: GuestSystem | null;
  /** Relative to the checkout. */
  readonly file: string;
}

/** Seconds that test files take, by their paths in the checkout. */
export type FileTimes = Readonly<Record<string, number>>;

/** What a file takes that nobody has measured yet: long, so that it begins early. */
const UNKNOWN_SECONDS = 60;

/** As measured when the suite last changed, for a machine that never ran it. */
const FIRST_TIMES = path.join(import.meta.dirname, 'file-seconds.json');

/** Deals items to so many hands, each to the one that has least to do, the longest first. */
export function dealItems<Item>(
  items: readonly Item[],
  hands: number,
  secondsOf: (item: Item) => number,
): Item[][] {
  const dealt = Array.from({ length: hands }, () => ({ seconds: 0, items: [] as Item[] }));
  for (const item of [...items].sort((a, b) => secondsOf(b) - secondsOf(a))) {
    const hand = dealt.reduce((least, each) => (each.seconds < least.seconds ? each : least));
    hand.seconds += secondsOf(item);
    hand.items.push(item);
  }
  return dealt.map((hand) => hand.items);
}

export function secondsOf(times: FileTimes, file: string): number {
  return times[file] ?? UNKNOWN_SECONDS;
}

/** As this machine last measured them; else as they were when the suite last changed. */
export function readFileTimes(): FileTimes {
  return { ...readTimes(FIRST_TIMES), ...readTimes(keptTimes()) };
}

/** What a run in one place tells of files. */
export interface TimedFiles {
  readonly system: GuestSystem | null;
  readonly ended: readonly FileEnded[];
}

/** Keeps what a run measured for the next one: of files that run on two systems, their time on this machine's own root. */
export function keepFileTimes(results: readonly TimedFiles[]): void {
  const ended = results
    .filter(({ system }) => system?.root.name !== 'debian13')
    .flatMap((each) => each.ended);
  const measured = Object.fromEntries(ended.map(({ ended: file, seconds }) => [file, Math.ceil(seconds)]));
  const times = Object.entries({ ...readTimes(keptTimes()), ...measured }).sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  const draft = `${keptTimes()}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(Object.fromEntries(times), null, 2)}\n`);
  renameSync(draft, keptTimes());
}

function keptTimes(): string {
  return path.join(cacheFolder(), 'file-seconds.json');
}

function readTimes(file: string): FileTimes {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as FileTimes;
  } catch {
    // not there yet, or not ours
    return {};
  }
}
