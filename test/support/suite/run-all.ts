import type { GuestSystem, SystemName } from '../guest/guest-system.js';
import { keepFileTimes, type KernelItem } from './deal-files.js';
import { canTake, crashTestFiles, kernelTestFiles, runKernelItems } from './kernel-suite.js';
import { runOnOtherNodes } from './other-nodes.js';
import { prepareGuests, type Guests } from './prepare-guests.js';
import { makePrivateFolder } from './private-folder.js';
import { totalSeconds } from './report-lines.js';
import { BUILD, runProject, runStep, STATIC_CHECKS, stopwatch } from './steps.js';
import { addTallies, EMPTY, failure, formatCounts, printTally, type Tally } from './tally.js';

const inCi = process.env['CI'] === 'true';

/** What `npm test` boots; `npm run test:matrix` runs everything on every system. */
const SYSTEMS: readonly SystemName[] = ['newer/own', 'own/own', 'newer/debian13', 'own/debian13'];

/** The test files that run on Debian 13 as well. */
const CORE_FILES = [
  ...['local-sync', 'ssh', 'thin', 'snapback', 'view', 'instant', 'copy', 'interrupted'],
  ...['lvm-settings', 'lvm-waits', 'thin-tools'],
].map((name) => `test/kernel/${name}.test.ts`);

/** Seconds of each part, for the reader. */
const parts: [string, string][] = [];
async function timed<T>(part: string, work: () => Promise<T>): Promise<T> {
  const seconds = stopwatch();
  try {
    return await work();
  } finally {
    parts.push([part, seconds()]);
  }
}

/** Each file on the fastest kernel that can take it, the core ones on Debian 13 as well; and those that boot guests. */
function chooseItems({ systems }: Guests): { items: KernelItem[]; without: string[] } {
  const choose = (root: string, file: string): GuestSystem | null | undefined =>
    systems.find((system) => system.root.name === root && canTake(system, file));
  const lost = CORE_FILES.filter((file) => !kernelTestFiles().includes(file));
  if (lost.length > 0) throw new Error(`no such test files: ${lost.join(' ')}`);
  const canBoot = systems.some(({ root }) => root.name === 'own');
  const wanted = [
    ...kernelTestFiles().map((file) => ({ root: 'own', file, system: choose('own', file) })),
    ...CORE_FILES.map((file) => ({ root: 'debian13', file, system: choose('debian13', file) })),
    ...crashTestFiles().map((file) => ({ root: 'own', file, system: canBoot ? null : undefined })),
  ];
  return {
    items: wanted.flatMap(({ system, file }) => (system === undefined ? [] : [{ system, file }])),
    without: wanted.filter(({ system }) => system === undefined).map(({ root, file }) => `${file} (${root})`),
  };
}

/** Everything that wants a real kernel: in guests, and on guests from outside. */
async function runOnRealKernels(guests: Guests, reportFolder: string): Promise<Tally> {
  const { items, without } = chooseItems(guests);
  const tallies: Tally[] = [];
  if (items.length > 0) {
    console.log('\n== kernel and crash tests');
    const results = await timed('kernel and crash tests, two at a time', () =>
      runKernelItems(items, reportFolder),
    );
    keepFileTimes(results);
    for (const { system, tally, ended } of results) {
      const place = system === null ? 'crash tests' : `on ${system.name}`;
      parts.push([`  ${place}: ${formatCounts(tally)}`, totalSeconds(ended).toFixed(1)]);
    }
    tallies.push(...results.map(({ tally }) => tally));
  }
  if (without.length === 0) return addTallies(tallies);
  const reasons = guests.obstacles.join('; ');
  if (inCi) {
    tallies.push(failure(`with CI=true these must run, and cannot: ${without.join(' ')}: ${reasons}`));
    return addTallies(tallies);
  }
  console.log(`\n!!! ${without.length} KERNEL TEST FILES ARE SKIPPED: ${without.join(' ')}: ${reasons}`);
  return addTallies([...tallies, { ...EMPTY, skipped: without.length }]);
}

const reportFolder = makePrivateFolder();
const guests = await timed('preparation', () => prepareGuests(SYSTEMS));
for (const obstacle of guests.obstacles) console.log(`!!! ${obstacle}`);
const tallies = [await timed('build', () => runStep(BUILD))];
tallies.push(...(await timed('static checks', () => Promise.all(STATIC_CHECKS.map(runStep)))));
tallies.push((await timed('unit tests', () => runProject('unit', reportFolder))).tally);
tallies.push(await timed('unit tests on other Nodes', () => runOnOtherNodes(reportFolder, inCi)));
tallies.push((await timed('exhaustive tests', () => runProject('exhaustive', reportFolder))).tally);
tallies.push(await runOnRealKernels(guests, reportFolder));

console.log('\n== seconds');
for (const [part, seconds] of parts) console.log(`${seconds.padStart(8)}  ${part}`);
process.exitCode = printTally(addTallies(tallies));
