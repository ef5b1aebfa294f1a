import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { startGuest } from '../guest/boot-guest.js';
import { findSystem, type GuestSystem, type SystemName } from '../guest/guest-system.js';
import { dealItems, readFileTimes, secondsOf, type KernelItem } from './deal-files.js';
import { makePrivateFolder } from './private-folder.js';
import { REPORT_VARIABLE } from './record-results.js';
import { endedFiles, filesUnderWay, readReport, type FileEnded } from './report-lines.js';
import { runProject } from './steps.js';
import { addTallies, failure, tallyFile, tallyVitest, type Tally } from './tally.js';

const CHECKOUT = path.resolve(import.meta.dirname, '../../..');

/** The test files that run inside a guest, by their paths in the checkout. */
export function kernelTestFiles(): string[] {
  return testFilesBelow('test/kernel');
}

/** The test files that run on this machine and pull the plug on guests. */
export function crashTestFiles(): string[] {
  return testFilesBelow('test/crash');
}

function testFilesBelow(folder: string): string[] {
  return readdirSync(path.join(CHECKOUT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => path.join(folder, name))
    .sort();
}

/** Files that the newer kernel cannot take, and why. */
const ONLY_OLDER_KERNEL: Readonly<Record<string, string>> = {
  'test/kernel/refused-snapshots.test.ts':
    'Linux 7.2.7 divides by zero while it stacks the limits of a table that it loads',
};

/** Whether a system can take a test file. */
export function canTake({ kernel }: GuestSystem, file: string): boolean {
  return kernel.name === 'own' || !(file in ONLY_OLDER_KERNEL);
}

/** How files went in one guest, or in one place. */
export interface PlaceResult {
  /** Null: on this machine. */
  readonly system: GuestSystem | null;
  readonly tally: Tally;
  readonly ended: readonly FileEnded[];
}

/** What guests are had by. */
export interface Guests {
  readonly run: RunGuest;
  readonly find: (name: SystemName) => GuestSystem | null;
}

/** Runs test files in two lanes at a time, each lane's files of one system in one guest. */
export async function runKernelItems(
  items: readonly KernelItem[],
  reportFolder: string,
  guests: Guests = { run: runGuest, find: findSystem },
): Promise<PlaceResult[]> {
  const times = readFileTimes();
  const lanes = dealItems(items, Math.min(2, availableParallelism()), ({ file }) => secondsOf(times, file));
  const runs = await Promise.all(
    lanes.map((lane, index) => new Lane(reportFolder, index + 1, guests).run(lane)),
  );
  return distinctSystems(items).map((system) => {
    const ofSystem = runs.flat().filter((result) => result.system === system);
    const tally = addTallies(ofSystem.map((result) => result.tally));
    return { system, tally, ended: ofSystem.flatMap(({ ended }) => ended) };
  });
}

function distinctSystems(items: readonly KernelItem[]): (GuestSystem | null)[] {
  return [...new Set(items.map(({ system }) => system))];
}

/** One guest after the other, and nothing beside it. */
class Lane {
  private started = 0;

  constructor(
    private readonly reportFolder: string,
    private readonly number: number,
    private readonly guests: Guests,
  ) {}

  async run(items: readonly KernelItem[]): Promise<PlaceResult[]> {
    const results: PlaceResult[] = [];
    for (const system of distinctSystems(items)) {
      const files = items.filter((item) => item.system === system).map(({ file }) => file);
      if (system === null) results.push(await this.runHere(files));
      else results.push(...(await this.runInGuests(system, files)));
    }
    return results;
  }

  private async runHere(files: readonly string[]): Promise<PlaceResult> {
    // the other lane may run crash tests at the same time: a report of one must not be the other's
    return { system: null, ...(await runProject('crash', makePrivateFolder(), { files })) };
  }

  /** A guest that dies is started again for the files that it had left, and the file that it died of is told. */
  private async runInGuests(system: GuestSystem, files: readonly string[]): Promise<PlaceResult[]> {
    const results: PlaceResult[] = [];
    for (let left = files; left.length > 0;) {
      const { result, died } = await this.guests.run(system, left, this.nextReport(), `[${this.number}] `);
      results.push(result);
      const done = result.ended.map(({ ended }) => ended);
      const open = left.filter((file) => !done.includes(file));
      if (died === null || open.length === 0) {
        // Vitest passes over a file that it does not find; a guest that dies at the very end hides what vitest says.
        const words = died === null ? `did not run: ${open.join(' ')}` : 'the guest died at its end';
        const isWhole = died === null && open.length === 0;
        if (!isWhole) results.push({ system, ended: [], tally: failure(`${system.name}: ${words}`) });
        break;
      }
      // vitest tells of a file some tenths of a second after it began
      const [killer = open.length === 1 ? open[0] : undefined] = died;
      if (killer !== undefined) results.push(await this.runAgain(system, killer));
      const rest = open.filter((file) => file !== killer);
      if (rest.length === left.length) {
        const tally = failure(`${system.name}: the guest died before ${rest.join(' ')}`);
        results.push({ system, ended: [], tally });
        break;
      }
      left = rest;
    }
    return results;
  }

  /** A guest's kernel died of a file: the file has a second chance on this system's own kernel, and both are told. */
  private async runAgain(system: GuestSystem, killer: string): Promise<PlaceResult> {
    const other = this.guests.find(`own/${system.root.name}`);
    const words = `${killer}: Linux ${system.kernel.version} died while it ran`;
    console.log(`!!! ${words}`);
    if (other === null || system.kernel.name === 'own') return { system, ended: [], tally: failure(words) };
    console.log(`!!! ${killer}: it runs again, on Linux ${other.kernel.version}`);
    const { result, died } = await this.guests.run(other, [killer], this.nextReport(), `[${this.number}] `);
    return died === null ? { ...result, system } : { system, ended: [], tally: failure(words) };
  }

  private nextReport(): string {
    this.started += 1;
    return path.join(this.reportFolder, `kernel-${this.number}-${this.started}`);
  }
}

/** How a guest went. `died`: the files that were under way when it did; null where it came to its end. */
export interface GuestRun {
  readonly result: PlaceResult;
  readonly died: readonly string[] | null;
}

/** Runs what vitest makes of `words` in one guest, and prints its lines behind a prefix. */
export type RunGuest = (
  system: GuestSystem,
  words: readonly string[],
  report: string,
  prefix: string,
) => Promise<GuestRun>;

/** Runs test files of the vitest project `kernel` in one guest. */
export async function runGuest(
  system: GuestSystem,
  words: readonly string[],
  report: string,
  prefix: string,
): Promise<GuestRun> {
  const { kernel, root, name } = system;
  const guest = startGuest({
    ...{ kernel, root },
    command: [process.execPath, ...VITEST_IN_GUEST, ...words],
    folder: CHECKOUT,
    disks: ['2G', '2G'],
    timeoutSeconds: 4 * 3600,
    environment: {
      ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : { NO_COLOR: '1' }),
      ...passedOn('CI'),
      [REPORT_VARIABLE]: report,
      ...passedOn('LVMSYNC_KILLS', 'LVMSYNC_SEED'),
    },
    onOutput: printByLines(prefix),
  });
  const { status, ended, console: lastWords } = await guest.finished;
  const lines = readReport(report);
  const files = endedFiles(lines);
  if (ended === 'finished') {
    return { result: { system, ended: files, tally: tallyVitest(name, report, status) }, died: null };
  }
  console.log(`!!! the guest ${ended}; its console said:\n${lastWords.trim()}`);
  const tally = addTallies(files.map((file) => tallyFile(name, file)));
  return { result: { system, ended: files, tally }, died: filesUnderWay(lines) };
}

/** Those of this process's own variables that are set. */
function passedOn(...names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => ((value) => (value ? [[name, value]] : []))(process.env[name])),
  );
}

/** The guest sees the checkout read-write: neither a cache nor a compiled configuration goes there. */
const VITEST_IN_GUEST: readonly string[] = [
  ...['node_modules/vitest/vitest.mjs', 'run', '--project=kernel'],
  ...['--configLoader=runner', '--cache=false'],
  ...['--reporter=verbose', '--reporter=./test/support/suite/record-results.ts'],
];

/** Prints whole lines only, so that two guests can share a terminal. */
function printByLines(prefix: string): (stream: 'stdout' | 'stderr', piece: Buffer) => void {
  const rest = { stdout: '', stderr: '' };
  return (stream, piece) => {
    const lines = (rest[stream] + piece.toString()).split('\n');
    rest[stream] = lines.pop() ?? '';
    for (const line of lines) console.log(prefix + line);
  };
}
