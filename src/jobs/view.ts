import { rm } from 'node:fs/promises';
import { openArchive, type ArchiveWish } from '../archive/archive.js';
import { planCombination, type Combination } from '../chain/combination.js';
import { openLocalDevice } from '../device/local-device.js';
import { stateDirOf, type Surroundings } from '../host/surroundings.js';
import { openTarget } from '../targets/open-target.js';
import { closeView, type ClosedView } from '../view/close-view.js';
import { listViews, type ListedView } from '../view/list-views.js';
import { checkStart, openView, type OpenedView } from '../view/open-view.js';
import { planStore, sizeForAll, type StorePlan } from '../view/store-plan.js';
import { writeStore } from '../view/store-writer.js';
import { lendForStore, oldStateOf } from '../view/view-making.js';
import { makeSparseFile } from '../view/view-of-device.js';
import { ViewEntry } from '../view/view-record.js';

/** The options of a view or a store. */
export interface ViewOptions {
  /** Null for the default. */
  readonly stateDir: string | null;
  readonly proto3: ArchiveWish['proto3'];
  readonly forceBase: boolean;
}

/** The options for opening a view. */
export interface OpenViewOptions extends ViewOptions {
  readonly targetName: string;
  /** Bytes; null for the default. */
  readonly spareBytes: number | null;
  /** The folder for a store in a file; null for the state directory. */
  readonly storeFolder: string | null;
}

/** A view that was opened, or a store that was written. */
export type ViewSummary = OpenedView & { readonly seconds: number };

/** Opens a view of a target's earlier state, from archives in the order in which they would be applied to it. */
export async function viewOpen(
  name: string,
  archives: readonly string[],
  options: OpenViewOptions,
  env: Surroundings,
): Promise<ViewSummary> {
  const started = env.clock();
  const combination = await combine(archives, options, env);
  const { targetName, spareBytes, storeFolder, forceBase } = options;
  const wish = { targetName, spareBytes, storeFolder, forceBase, purpose: 'view' } as const;
  const opened = await withTarget(name, options, env, (target, entry) =>
    openView({ target, old: oldStateOf(combination, env) }, wish, entry, env),
  );
  return { ...opened, seconds: (env.clock() - started) / 1000 };
}

/** Closes a view, and removes what is left of one. */
export async function viewClose(
  name: string,
  stateDir: string | null,
  env: Surroundings,
): Promise<ClosedView> {
  const folder = stateDirOf(stateDir, env);
  const entry = await ViewEntry.take(name, `view close ${name}`, folder, env);
  return await closeView(entry, folder, env).finally(() => entry.release());
}

/** All views, and how full their stores are. Throws as `listViews`. */
export function viewList(stateDir: string | null, env: Surroundings): Promise<ListedView[]> {
  return listViews(stateDirOf(stateDir, env), env);
}

/**
 * Writes a store into a new file, with space for every chunk of the volume unless `spareBytes` says otherwise. The
 * target is only read, for the rest of a chunk if the archives have only part of it, and is locked meanwhile;
 * `targetName` is null if there is no target. Throws DeviceError if the file exists, and for the target as `viewOpen`.
 */
export async function viewStore(
  path: string,
  archives: readonly string[],
  { targetName, spareBytes, ...options }: StoreOptions,
  env: Surroundings,
): Promise<StorePlan> {
  const combination = await combine(archives, options, env);
  const old = oldStateOf(combination, env);
  const stateDir = options.stateDir ?? env.stateDir;
  const opening = { stateDir, what: `view store ${path}`, sources: [], allowed: null };
  const target = targetName === null ? null : await openTarget(targetName, opening, env);
  try {
    if (target !== null && targetName !== null)
      await checkStart({ target, old }, { ...options, targetName }, env);
    const device = target?.device ?? null;
    const plan = planStore(old.extents(), device?.size ?? combination.volumeSize, device !== null);
    const most = sizeForAll(plan);
    await makeSparseFile(path, spareBytes === null ? most : Math.min(most, plan.usedBytes + spareBytes));
    try {
      const ours = { writable: true, followLinks: false, spawner: env.spawner } as const;
      const store = await openLocalDevice(path, ours);
      const material = { plan, old, target: device };
      await writeStore(store, material, lendForStore(), env).finally(() => store.close());
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
    return plan;
  } finally {
    await target?.close();
  }
}

export interface StoreOptions extends ViewOptions {
  readonly targetName: string | null;
  readonly spareBytes: number | null;
}

async function combine(
  paths: readonly string[],
  { proto3, forceBase }: Pick<ViewOptions, 'proto3' | 'forceBase'>,
  env: Surroundings,
): Promise<Combination> {
  const archives = [];
  for (const path of paths) archives.push(await openArchive(path, { proto3 }));
  const combination = planCombination(archives, { forceBase });
  for (const line of combination.believed) env.notice(line);
  return combination;
}

type TargetWork<T> = (target: Awaited<ReturnType<typeof openTarget>>, entry: ViewEntry) => Promise<T>;

/** Opens a view while this run holds the locks of its target and of its name. */
async function withTarget<T>(
  name: string,
  { targetName, stateDir: wanted }: Pick<OpenViewOptions, 'targetName' | 'stateDir'>,
  env: Surroundings,
  work: TargetWork<T>,
): Promise<T> {
  const stateDir = stateDirOf(wanted, env);
  const what = `view open ${name}`;
  const entry = await ViewEntry.take(name, what, stateDir, env);
  try {
    await entry.refuseSecond();
    const opening = { stateDir, what, sources: [], allowed: null };
    const target = await openTarget(targetName, opening, env);
    try {
      return await work(target, entry);
    } finally {
      await target.close();
    }
  } finally {
    await entry.release();
  }
}
