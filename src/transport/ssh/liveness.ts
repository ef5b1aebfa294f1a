import type { RawLine } from './raw-line.js';

/**
 * Watches that bytes keep coming over a line where the far side answers regular probes. Any byte is a sign of life:
 * on a busy line the answer to a probe may wait behind megabytes. Returns what ends the watch.
 *
 * @param onDead called once, after `count` intervals in which nothing came
 */
export function watchLiveness(
  line: RawLine,
  {
    keepaliveIntervalMs,
    keepaliveCount,
  }: { readonly keepaliveIntervalMs: number; readonly keepaliveCount: number },
  onDead: () => void,
): () => void {
  let seen = line.bytesRead();
  let silent = 0;
  // Looks, and not time, are counted: a machine that slept must not think that the others did.
  const timer = setInterval(() => {
    const now = line.bytesRead();
    silent = now === seen ? silent + 1 : 0;
    seen = now;
    if (silent <= keepaliveCount) return;
    clearInterval(timer);
    onDead();
  }, keepaliveIntervalMs);
  timer.unref();
  return () => {
    clearInterval(timer);
  };
}
