// Applies a stream as `lvmsync --apply FILE --state-dir DIR TARGET` does, without the command line around it: for
// tests that start it very often, as in the guest most of a start is reading modules.
import { createReadStream } from 'node:fs';
import { apply } from '../../../dist/jobs/apply.js';
import { ProcessSpawner } from '../../../dist/host/spawner.js';
import { silentProgress } from '../../../dist/host/surroundings.js';
import { DEFAULT_POLICY } from '../../../dist/targets/apply-policy.js';

const [file, stateDir, target] = process.argv.slice(2);
await apply(
  { source: createReadStream(file, { highWaterMark: 1024 * 1024 }), name: file, file: null },
  { path: target, policy: { ...DEFAULT_POLICY, stateDir } },
  {
    spawner: new ProcessSpawner(process.env),
    progress: silentProgress,
    clock: () => performance.now(),
    now: () => new Date(),
    notice: () => undefined,
    detail: () => undefined,
    signal: new AbortController().signal,
    stateDir,
    hostname: 'guest',
    version: 'under test',
  },
);
