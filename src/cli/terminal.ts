import { createRequire } from 'node:module';
import { formatBytes } from '../bytes/amounts.js';
import { silentProgress, type Progress } from '../host/surroundings.js';

/*
 * Everything that a person sees goes through here, by these rules. Only data goes to stdout: streams, JSON, reports
 * such as those of `inspect`. Everything else goes to stderr, line by line, and each line begins with the name of the
 * program. Nothing is printed twice. There is a progress line only if stderr is a terminal. An error is one line
 * without a stack, except for internal errors.
 */

/** How much a user wants to see. */
export type Verbosity = 'quiet' | 'normal' | 'verbose' | 'debug';

/** A progress line on a terminal: bytes, share, rate and time left. */
export function terminalProgress(stream: NodeJS.WriteStream): Progress {
  if (!stream.isTTY) return silentProgress;
  // Loaded only for a terminal: most runs have no terminal, and need not wait for it.
  const cliProgress = createRequire(import.meta.url)('cli-progress') as typeof import('cli-progress');
  const bar = new cliProgress.SingleBar({
    stream,
    clearOnComplete: true,
    hideCursor: null,
    etaBuffer: 50,
    // The line must fit into 80 columns: the rest is cut off.
    barsize: 16,
    format: 'lvmsync: {bar} {percentage} %  {value} of {total}  {rate}/s  {eta_formatted} left',
    formatValue: (value, _options, type) =>
      type === 'value' || type === 'total' ? formatBytes(value) : String(value),
  });
  let done = 0;
  let started = 0;
  return {
    start(totalBytes) {
      done = 0;
      started = performance.now();
      bar.start(totalBytes, 0, { rate: formatBytes(0) });
    },
    advance(bytes) {
      done += bytes;
      const seconds = Math.max(0.001, (performance.now() - started) / 1000);
      bar.update(done, { rate: formatBytes(done / seconds) });
    },
    stop() {
      bar.stop();
    },
  };
}
