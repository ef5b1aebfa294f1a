import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { InterruptedError } from '../errors.js';
import { endAtOnce } from '../host/system-calls.js';
import { processContext } from './context.js';
import { exitCodeOf } from './exit-code.js';
import { runProgram } from './program.js';

const FILES_PATIENCE_MS = 500;
const PAUSE_MS = 20;

// V8 prints a flag that it does not know on standard error, and cannot be asked beforehand: so each flag is set only
// for the versions of Node in which it was tried. A newer one does without.
const node = Number.parseInt(process.versions.node, 10);
// The bytes under way count as heap: at its usual limits V8 would look through all of the heap every few megabytes.
if (node <= 26) setFlagsFromString('--heap-growing-percent=900');
// Most runs last a second or two. The haste to optimize of Node 20's V8 took a quarter of their processor time, on both
// sides; this is what a loop may weigh before it is optimized (V8's own: 67,584), and costs long runs next to nothing.
// Later versions count calls instead, and take less time as they are.
if (node === 20) setFlagsFromString('--interrupt-budget=300000');

// Whoever reads what we say may go away.
process.stderr.on('error', () => undefined);

// The first signal asks for an orderly end, which leaves what can be taken up or taken back; the second insists.
const stop = new AbortController();
const leave = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    const reason = new InterruptedError(signal);
    if (stop.signal.aborted) {
      leave.abort(reason);
      process.exit(exitCodeOf(reason));
    }
    stop.abort(reason);
  });
}

const status = await runProgram(process.argv.slice(2), processContext(stop.signal, leave.signal));
process.exitCode = status;
// Node waits at its end for each file that is still asked for, and a disk or a file server that hangs never answers.
const isFileAwaited = () => process.getActiveResourcesInfo().includes('FSReqPromise');
for (let waited = 0; isFileAwaited() && waited < FILES_PATIENCE_MS; waited += PAUSE_MS) await sleep(PAUSE_MS);
if (isFileAwaited()) await endAtOnce(status);
// A far side's or a pipe's leftovers must not keep a finished run alive.
process.exit();
