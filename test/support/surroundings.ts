import { ProcessSpawner, type Spawner } from '../../src/host/spawner.js';
import { silentProgress, type Surroundings } from '../../src/host/surroundings.js';

/** Surroundings that keep what they are told instead of showing it. */
export function quietSurroundings(spawner: Spawner = new ProcessSpawner(process.env)): Surroundings & {
  readonly notices: string[];
} {
  const notices: string[] = [];
  return {
    spawner,
    progress: silentProgress,
    clock: () => performance.now(),
    now: () => new Date('2026-01-02T03:04:05.000Z'),
    notice: (line) => notices.push(line),
    detail: () => undefined,
    signal: new AbortController().signal,
    stateDir: '/nonexistent',
    hostname: 'test-host',
    version: '0.0.0-test',
    notices,
  };
}
