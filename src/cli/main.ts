import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { InterruptedError } from '../errors.js';
import { endAtOnce } from '../host/system-calls.js';
import { processContext } from './context.js';
import { exitCodeOf } from './exit-code.js';
import { runProgram } from './program.js';

const FILES_PATIENCE_MS = 500;
const PAUSE_MS = 20;

// V8 prints unknown flags on standard error, and there is no way to ask which flags it knows. So each flag is set only
// for the versions of Node that it was tested with; newer versions run without it.
const node = Number.parseInt(process.versions.node, 10);
// Buffers in use count as heap: with its default limits V8 would collect the whole heap every few megabytes.
if (node <= 26) setFlagsFromString('--heap-growing-percent=900');
// Most runs last a second or two, and V8 in Node 20 spent a quarter of their processor time on early optimization, on
// both sides. This budget says how much a loop may run before V8 optimizes it (default: 67,584); the larger value costs
// long runs almost nothing. Later versions of V8 count calls instead, and need no change.
if (node === 20) setFlagsFromString('--interrupt-budget=300000');

// The reader of standard error may go away.
process.stderr.on('error', () => undefined);

// The first signal asks for an orderly end, after which the run can be resumed or taken back. The second exits at once.
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
// Node waits at its end for each request to a file, and a disk or a file server that hangs never answers.
const isFileAwaited = () => process.getActiveResourcesInfo().includes('FSReqPromise');
for (let waited = 0; isFileAwaited() && waited < FILES_PATIENCE_MS; waited += PAUSE_MS) await sleep(PAUSE_MS);
if (isFileAwaited()) await endAtOnce(status);
// Handles of a far side or a pipe that are still open must not keep a finished run alive.
process.exit();
