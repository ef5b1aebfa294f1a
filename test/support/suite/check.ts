import { makePrivateFolder } from './private-folder.js';
import { runProject, runStep, STATIC_CHECKS } from './steps.js';
import { addTallies, printTally } from './tally.js';

// npm run check: what to run before each commit, all of it at once
const tests = runProject('unit', makePrivateFolder());
const checks = STATIC_CHECKS.map(runStep);
process.exitCode = printTally(addTallies([(await tests).tally, ...(await Promise.all(checks))]));
