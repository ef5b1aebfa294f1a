import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { checkArchive } from '../archive/archive.js';
import { UNFINISHED } from '../archive/new-archive.js';
import { listArchives, type ListedArchive, keepingArchives, lockArchives } from '../chain/archive-folder.js';
import { planUndos } from '../chain/combination.js';
import type { KeepRules } from '../chain/keep-rules.js';
import { forgetPruneIntent, readPruneIntent, writePruneIntent } from '../chain/prune-intent.js';
import {
  COMBINATION,
  planPruning,
  unprunedNameless,
  type PrunePlan,
  type UnprunedUndos,
} from '../chain/pruning.js';
import { undosOf, type Undo } from '../chain/states.js';
import { DeviceError, FormatError, LvmsyncError, TruncatedStreamError } from '../errors.js';
import { isThere, removeDurably } from '../host/durable-file.js';
import type { Surroundings } from '../host/surroundings.js';
import { saveCombination } from './combine.js';

export { listArchives, type ListedArchive } from '../chain/archive-folder.js';

/** An archive that was read to its last byte, and its problem, or null. */
export interface CheckedArchive {
  readonly archive: ListedArchive;
  readonly problem: LvmsyncError | null;
}

/**
 * Reads every byte of every archive in a folder, and calls `tell` for each. An unreadable archive is a finding, not a
 * failure: a check must find failing disks. Throws LockedError while the folder is being pruned, DeviceError if the
 * folder cannot be read, and InterruptedError.
 */
export function checkArchives(
  folder: string,
  tell: (checked: CheckedArchive) => void,
  env: Surroundings,
): Promise<void> {
  return keepingArchives(folder, async () => {
    const tellOther = (path: string) => {
      env.notice(`${path}: not an archive, so it was not checked`);
    };
    for (const archive of await listArchives(folder, tellOther)) {
      tell({ archive, problem: await problemOf(archive.path, env) });
    }
  });
}

async function problemOf(path: string, { signal }: Surroundings): Promise<LvmsyncError | null> {
  try {
    await checkArchive(path, signal);
    return null;
  } catch (error) {
    if (
      error instanceof TruncatedStreamError ||
      error instanceof FormatError ||
      error instanceof DeviceError
    ) {
      return error;
    }
    throw error;
  }
}

export interface PruneOptions {
  readonly rules: KeepRules;
  readonly dryRun: boolean;
}

/** What a prune did, or would do. */
export interface PruneSummary {
  readonly plans: readonly PrunePlan[];
  readonly unpruned: readonly UnprunedUndos[];
  /** The sizes of the new files and of the removed ones. Bytes. */
  readonly madeBytes: number;
  readonly freedBytes: number;
}

/**
 * Drops states of the volumes whose undos are in a folder. The undos around a dropped state are combined into one. That
 * one is in its place, on stable storage, and has been read and checked before the others are removed. So
 * wherever a prune is interrupted, every state that is kept can be reached, and the next run finishes the work. Throws
 * LockedError while another run prunes the folder or restores from it, and what reading and writing archives throws.
 */
export async function pruneArchives(
  folder: string,
  { rules, dryRun }: PruneOptions,
  env: Surroundings,
): Promise<PruneSummary> {
  if (dryRun) return (await planPrune(folder, rules)).summary;
  const lock = await lockArchives(folder, `archive prune ${folder}`, env);
  try {
    // List the folder under the lock: until then, another run may remove files.
    const { summary, removed } = await planPrune(folder, rules);
    await removeUnfinished(folder);
    for (const { archive } of summary.plans.flatMap((plan) => plan.substitutes)) {
      await checkArchive(archive.path, env.signal);
    }
    const combinations = summary.plans.flatMap((plan) => plan.combinations);
    const parts = new Set(combinations.flatMap((each) => each.undos));
    // Remove these first: the disk may be full, and the new files need the space.
    await removeAll(
      folder,
      removed.filter((undo) => !parts.has(undo)),
      env,
    );
    let madeBytes = 0;
    for (const { name, undos } of combinations) madeBytes += await combineUndos(folder, name, undos, env);
    await removeAll(folder, [...parts], env);
    return { ...summary, madeBytes };
  } finally {
    await lock.release();
  }
}

async function planPrune(
  folder: string,
  rules: KeepRules,
): Promise<{ readonly summary: PruneSummary; readonly removed: readonly Undo[] }> {
  const listed = await listArchives(folder);
  const undos = undosOf(listed);
  const leftOver = new Set(await readPruneIntent(folder, undos));
  const { plans, unpruned } = planPruning(
    undos.filter((undo) => !leftOver.has(undo)),
    rules,
  );
  const removed = [...leftOver, ...plans.flatMap((plan) => plan.removed)];
  const freedBytes = removed.reduce((sum, { archive }) => sum + (archive.isLink ? 0 : archive.size), 0);
  const alone = [...unpruned, ...unprunedNameless(listed)];
  return { summary: { plans, unpruned: alone, madeBytes: 0, freedBytes }, removed };
}

/** Removes the file that a killed prune was writing. Only a prune writes such files, and we hold its lock. */
async function removeUnfinished(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (UNFINISHED.test(name) && COMBINATION.test(name)) await removeDurably(join(folder, name));
  }
}

/** Removes undos. Their replacements must be in place. */
async function removeAll(folder: string, undos: readonly Undo[], env: Surroundings): Promise<void> {
  if (undos.length === 0) return;
  await writePruneIntent(folder, undos);
  for (const { archive } of undos) {
    env.signal.throwIfAborted();
    await removeDurably(archive.path);
  }
  await forgetPruneIntent(folder);
}

async function combineUndos(
  folder: string,
  name: string,
  undos: readonly Undo[],
  env: Surroundings,
): Promise<number> {
  const out = await freeName(folder, name);
  const size = await saveCombination(out, await planUndos(undos, env.signal), null, env);
  // Its parts are removed next: a bug, or a failing disk, must show before that.
  await checkArchive(out, env.signal);
  return size;
}

/** A path that does not exist yet: a damaged file may have the name already. */
async function freeName(folder: string, name: string): Promise<string> {
  for (let count = 0; ; count++) {
    const path = join(folder, count === 0 ? name : `${count}-${name}`);
    if (!(await isThere(path))) return path;
  }
}
