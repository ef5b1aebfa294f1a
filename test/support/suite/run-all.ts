import { crashTestFiles, kernelTestFiles, runKernelSuite } from './kernel-suite.js';
import { runOnOtherNodes } from './other-nodes.js';
import { prepareGuests } from './prepare-guests.js';
import { makePrivateFolder } from './private-folder.js';
import { BUILD, runProject, runStep, STATIC_CHECKS } from './steps.js';
import { addTallies, EMPTY, failure, printTally, type Tally } from './tally.js';

const inCi = process.env['CI'] === 'true';

/** Everything that wants a real kernel: in guests, and on guests from outside. */
async function runOnRealKernels(reportFolder: string): Promise<Tally> {
  const obstacle = await prepareGuests();
  if (obstacle === null) {
    console.log('\n== kernel tests');
    return addTallies([await runKernelSuite({ reportFolder }), await runProject('crash', reportFolder)]);
  }
  if (inCi) return failure(`the kernel suite cannot run, and with CI=true it must: ${obstacle}`);
  const files = [...kernelTestFiles(), ...crashTestFiles()];
  console.log(`\n!!! THE KERNEL SUITE (${files.length} test files) IS SKIPPED: ${obstacle}`);
  return { ...EMPTY, skipped: files.length };
}

const reportFolder = makePrivateFolder();
const tallies = [await runStep(BUILD)];
tallies.push(...(await Promise.all(STATIC_CHECKS.map(runStep))));
tallies.push(await runProject('unit', reportFolder));
tallies.push(await runOnOtherNodes(reportFolder, inCi));
tallies.push(await runProject('exhaustive', reportFolder));
tallies.push(await runOnRealKernels(reportFolder));

process.exitCode = printTally(addTallies(tallies));
