import { SYSTEM_NAMES } from '../guest/guest-system.js';
import { keepFileTimes } from './deal-files.js';
import { canTake, kernelTestFiles, runKernelItems } from './kernel-suite.js';
import { prepareGuests } from './prepare-guests.js';
import { makePrivateFolder } from './private-folder.js';
import { totalSeconds } from './report-lines.js';
import { BUILD, runStep } from './steps.js';
import { addTallies, failure, printTally } from './tally.js';

// npm run test:matrix: every kernel test on every system
const { systems, obstacles } = await prepareGuests(SYSTEM_NAMES);
const tallies = obstacles.map(failure);
tallies.push(await runStep(BUILD));
const items = systems.flatMap((system) =>
  kernelTestFiles()
    .filter((file) => canTake(system, file))
    .map((file) => ({ system, file })),
);
const results = await runKernelItems(items, makePrivateFolder());
keepFileTimes(results);

console.log(`\n${'system'.padEnd(16)}${'kernel'.padEnd(12)}   passed   failed  skipped  seconds`);
for (const { system, tally, ended } of results) {
  if (system === null) continue;
  const figures = [tally.passed, tally.failed, tally.skipped, Math.round(totalSeconds(ended))];
  const columns = figures.map((figure) => String(figure).padStart(9)).join('');
  console.log(`${system.name.padEnd(16)}${system.kernel.version.padEnd(12)}${columns}`);
}
process.exitCode = printTally(addTallies([...tallies, ...results.map(({ tally }) => tally)]));
