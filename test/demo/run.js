import { ensureBuilt, ensureInstalled, runScript } from '../support/ensure-ready.js';

// npm run demo [-- --keep]
ensureInstalled();
ensureBuilt();
process.exitCode = runScript('test/demo/demo.ts', process.argv.slice(2));
