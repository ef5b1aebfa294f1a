import { runKernelSuite } from './kernel-suite.js';
import { makePrivateFolder } from './private-folder.js';

// tsx test/support/suite/kernel-by-hand.ts [WORDS FOR VITEST…]: one guest, such as for one file at work
const tally = await runKernelSuite({
  reportFolder: makePrivateFolder(),
  filters: process.argv.slice(2),
});
for (const name of tally.failures) console.log(`FAILED ${name}`);
process.exitCode = tally.failed === 0 ? 0 : 1;
