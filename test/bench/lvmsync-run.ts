import { rmSync } from 'node:fs';
import path from 'node:path';
import type { Build } from './builds.js';
import type { ChangedVolume } from './changed-volume.js';
import { recordRun, UsageFolder } from './measure.js';
import type { Rival, Sample } from './turns.js';

/** The same run by the other build. */
export function beside(name: string): string {
  return `${name}, other build`;
}

/** One rival for each build: under its own name for ours, and the same run by the other build. */
export function byEachBuild(
  builds: readonly Build[],
  runs: Readonly<Record<string, (build: Build) => Rival>>,
): [string, Rival][] {
  return Object.entries(runs).flatMap(([name, run]) =>
    builds.map((build): [string, Rival] => [build.name === 'this' ? name : beside(name), run(build)]),
  );
}

/** Runs lvmsync with a state directory of its own that is new in each run. Throws where it fails. */
export async function runLvmsyncIn(
  folder: string,
  build: Build,
  words: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Sample & { readonly stdout: string }> {
  const stateDir = path.join(folder, 'state');
  rmSync(stateDir, { recursive: true, force: true });
  const near = new UsageFolder(path.join(folder, 'near-usage'));
  const argv = [build.program, ...words, '--state-dir', stateDir] as const;
  const { seconds, stdout, memory, processor } = await recordRun(argv, near, environment);
  return { seconds, stdout, near: memory, processor };
}

/** Where a sync goes: a path, or a far side. */
export interface SyncGoal {
  readonly target: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** Words that only this goal needs. */
  readonly words?: (build: Build) => readonly string[];
  /** What the far processes left. */
  readonly far?: UsageFolder;
}

/** A sync of what changed in a volume, from the target's old bytes to proven new ones. */
export function syncRival(
  volume: ChangedVolume,
  { target, environment, words = () => [], far }: SyncGoal,
  options: readonly string[] = [],
): (build: Build) => Rival {
  const folder = path.dirname(volume.cow);
  return (build) => async () => {
    volume.reset();
    far?.clear();
    const how = ['--json', ...options, ...words(build)];
    const all = [...how, '--cow', volume.cow, '--origin', volume.origin, target];
    const sample = await runLvmsyncIn(folder, build, all, environment);
    const { tableBytes, sentBytes } = JSON.parse(sample.stdout) as { tableBytes: number; sentBytes: number };
    if (tableBytes !== volume.changedBytes) throw new Error(`lvmsync found ${tableBytes} changed bytes`);
    volume.verify();
    if (far === undefined) return { ...sample, sent: sentBytes };
    const usage = await far.read();
    const processor = (sample.processor ?? NaN) + usage.processor;
    return { ...sample, sent: sentBytes, processor, far: usage.memory };
  };
}
