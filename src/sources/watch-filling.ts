import { countOf } from '../bytes/amounts.js';
import type { ChangeSource, SourceWatch } from '../changes/change-source.js';
import { LvmsyncError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { FillLevel } from '../snapshots/fill-level.js';

/** There is one warning each time that the fill level passes one of these shares. */
const SHARES = [0.8, 0.9, 0.95, 0.98];
const EVERY_MS = 10_000;
/** The shortest time over which a rate is measured. */
const LEAST_MS = 5_000;
const MIB = 1024 * 1024;

/** Reads how full everything is that a run depends on. Throws SnapshotError, CommandError. */
export type ReadLevels = () => Promise<readonly FillLevel[]>;

/** A source whose stores or pool can fill up while it is read. */
export interface FillingSource extends ChangeSource {
  readonly watch: SourceWatch & { readonly readLevels: ReadLevels };
}

/** Watches, during a run, what must not become full, and warns when it nearly is. */
export class FillingWatch {
  private readonly seen = new Map<string, { first: FillLevel; at: number; warnedAt: number }>();
  private timer: NodeJS.Timeout | null = null;
  private looking = Promise.resolve();

  private constructor(
    private readonly read: ReadLevels,
    private readonly env: Pick<Surroundings, 'clock' | 'now' | 'notice'>,
  ) {}

  /** Looks at once, and then every ten seconds until `stop`. */
  static async begin(
    read: ReadLevels,
    env: Pick<Surroundings, 'clock' | 'now' | 'notice'>,
  ): Promise<FillingWatch> {
    const watch = new FillingWatch(read, env);
    await watch.look();
    // The timer must not keep the process alive.
    watch.timer = setInterval(() => {
      watch.looking = watch.looking.then(() => watch.look());
    }, EVERY_MS).unref();
    return watch;
  }

  /** Ends after the look in progress. */
  async stop(): Promise<void> {
    if (this.timer !== null) clearInterval(this.timer);
    await this.looking;
  }

  /** Looks once. Ignores failures: the run itself will find them, and report them better. */
  async look(): Promise<void> {
    try {
      for (const level of await this.read()) await this.judge(level);
    } catch (error) {
      if (!(error instanceof LvmsyncError)) throw error;
    }
  }

  private async judge(level: FillLevel): Promise<void> {
    const { what, used, size } = level;
    const now = this.env.clock();
    const known = this.seen.get(what) ?? { first: level, at: now, warnedAt: 0 };
    this.seen.set(what, known);
    const share = used / size;
    const passed = SHARES.findLast((each) => share >= each) ?? 0;
    if (passed <= known.warnedAt) return;
    known.warnedAt = passed;
    const measured = rateBetween(known.first.used, used, now - known.at);
    const rate = measured ?? (await this.rateSoFar(level));
    this.env.notice(describe(level, rate));
  }

  /** The average rate since it was empty: bytes per second. */
  private async rateSoFar(level: FillLevel): Promise<number | null> {
    const emptyAt = await level.emptyAt();
    return emptyAt === null ? null : rateBetween(0, level.used, this.env.now().getTime() - emptyAt);
  }
}

/** Looks once, for a command that does not last. */
export async function warnOfFilling(
  read: ReadLevels,
  env: Pick<Surroundings, 'clock' | 'now' | 'notice'>,
): Promise<void> {
  await (await FillingWatch.begin(read, env)).stop();
}

function rateBetween(before: number, after: number, milliseconds: number): number | null {
  return milliseconds < LEAST_MS || after <= before ? null : ((after - before) / milliseconds) * 1000;
}

function describe({ what, used, size, advice }: FillLevel, rate: number | null): string {
  const full = `warning: ${what} is ${((100 * used) / size).toFixed(1)} % full (${mebibytes(used)} of ${mebibytes(size)} MiB)`;
  if (rate === null) return `${full}; ${advice}`;
  const left = describeTime((size - used) / rate);
  return `${full}, filling by ${mebibytes(rate * 60)} MiB a minute, so it is full in ${left}; ${advice}`;
}

function mebibytes(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}

function describeTime(seconds: number): string {
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  return seconds < 7200
    ? countOf(Math.round(seconds / 60), 'minute')
    : countOf(Math.round(seconds / 3600), 'hour');
}
