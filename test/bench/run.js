import { ensureBuilt, ensureInstalled, runScript } from '../support/ensure-ready.js';

// npm run bench [-- quick] [-- PART …]: all parts, or those named; see docs/performance.md
ensureInstalled();
// A Node reads these at each start, ours at the far side of ssh does not: what they cost is not lvmsync's.
delete process.env.NODE_EXTRA_CA_CERTS;
ensureBuilt();
process.exitCode = runScript('test/bench/bench.ts', process.argv.slice(2));
