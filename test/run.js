// npm test: installs what is missing, then runs every check and every test, straight after cloning too.
// npm run test:matrix: the same for the kernel tests, on every kernel and system.
// npm run check: the same for what is to run before each commit.
import { ensureInstalled, runScript } from './support/ensure-ready.js';

const suite = { matrix: 'run-matrix', check: 'check' }[process.argv[2]] ?? 'run-all';
// tsx would keep its cache in the machine's temporary folder
process.env.TSX_DISABLE_CACHE = '1';
try {
  ensureInstalled();
  process.exitCode = runScript(`test/support/suite/${suite}.ts`, []);
} catch (error) {
  console.log(`${error.message}\nFAILED to install the packages\n0 passed, 1 failed, 0 skipped`);
  process.exitCode = 1;
}
