import { ensureBuilt, ensureInstalled, runScript } from '../support/ensure-ready.js';

// npm run bench [-- parse|thin|local|journal|ssh|compression|verify|combine|restore|rollback …]: all parts, or those named
ensureInstalled();
// A Node reads these at each start, ours at the far side of ssh does not: what they cost is not lvmsync's.
delete process.env.NODE_EXTRA_CA_CERTS;
ensureBuilt();
process.exitCode = runScript('test/bench/bench.ts', process.argv.slice(2));
