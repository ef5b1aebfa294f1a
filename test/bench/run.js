import { ensureBuilt, ensureInstalled, runScript } from '../support/ensure-ready.js';

// npm run bench [-- parse|thin|local|journal|ssh|compression|verify|combine|rollback …]: all parts, or those named
ensureInstalled();
ensureBuilt();
process.exitCode = runScript('test/bench/bench.ts', process.argv.slice(2));
