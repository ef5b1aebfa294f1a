import { LvmsyncError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { FillLevel } from '../snapshots/fill-level.js';

/** From here on there is a warning, and another one each time that one of these is passed. */
const SHARES = [0.8, 0.9, 0.95, 0.98];
const EVERY_MS = 10_000;
/** What a rate is measured over, at least. */
const LEAST_MS = 5_000;
const MIB = 1024 * 1024;

/** Reads how full is what a run depends on. Throws SnapshotError, CommandError. */
export type ReadLevels = () => Promise<readonly FillLevel[]>;

/** Looks, while a run lasts, at what must not become full, and warns where it nearly is. */
export class FillingWatch {
  private readonly seen = new Map<string, { first: FillLevel; at: number; warnedAt: number }>();
  private timer: NodeJS.Timeout | null = null;
  private looking = Promise.resolve();

  private constructor(
    private readonly read: ReadLevels,
    private readonly about: Pick<Surroundings, 'clock' | 'now' | 'notice'>,
  ) {}

  /** Looks at once, and then every ten seconds until `stop`. */
  static async begin(
    read: ReadLevels,
    about: Pick<Surroundings, 'clock' | 'now' | 'notice'>,
  ): Promise<FillingWatch> {
    const watch = new FillingWatch(read, about);
    await watch.look();
    // Nothing is kept waiting by it, the end of the process least of all.
    watch.timer = setInterval(() => {
      watch.looking = watch.looking.then(() => watch.look());
    }, EVERY_MS).unref();
    return watch;
  }

  /** Ends after the look that is under way. */
  async stop(): Promise<void> {
    if (this.timer !== null) clearInterval(this.timer);
    await this.looking;
  }

  /** Looks once. What fails here is the run's own to find, and to say better. */
  async look(): Promise<void> {
    try {
      for (const level of await this.read()) await this.judge(level);
    } catch (error) {
      if (!(error instanceof LvmsyncError)) throw error;
    }
  }

  private async judge(level: FillLevel): Promise<void> {
    const { what, used, size } = level;
    const now = this.about.clock();
    const known = this.seen.get(what) ?? { first: level, at: now, warnedAt: 0 };
    this.seen.set(what, known);
    const share = used / size;
    const passed = SHARES.findLast((each) => share >= each) ?? 0;
    if (passed <= known.warnedAt) return;
    known.warnedAt = passed;
    const measured = rateBetween(known.first.used, used, now - known.at);
    const rate = measured ?? (await this.rateSoFar(level));
    this.about.notice(describe(level, rate));
  }

  /** What it filled by since it was empty, on average: bytes a second. */
  private async rateSoFar(level: FillLevel): Promise<number | null> {
    const emptyAt = await level.emptyAt();
    return emptyAt === null ? null : rateBetween(0, level.used, this.about.now().getTime() - emptyAt);
  }
}

/** Looks once, for whoever only has a look himself. */
export async function warnOfFilling(
  read: ReadLevels,
  about: Pick<Surroundings, 'clock' | 'now' | 'notice'>,
): Promise<void> {
  await (await FillingWatch.begin(read, about)).stop();
}

function rateBetween(before: number, after: number, milliseconds: number): number | null {
  return milliseconds < LEAST_MS || after <= before ? null : ((after - before) / milliseconds) * 1000;
}

function describe({ what, used, size, advice }: FillLevel, rate: number | null): string {
  const full = `warning: ${what} is ${((100 * used) / size).toFixed(1)} % full (${mebibytes(used)} of ${mebibytes(size)} MiB)`;
  if (rate === null) return `${full}; ${advice}`;
  const left = describeTime((size - used) / rate);
  return `${full}, filling by ${mebibytes(rate * 60)} MiB a minute, which leaves ${left}; ${advice}`;
}

function mebibytes(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}

function describeTime(seconds: number): string {
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} minutes` : `${Math.round(seconds / 3600)} hours`;
}
