import { randomBytes } from 'node:crypto';
import { BaseMismatchError, UnsafeTargetError, UsageError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { readNote } from '../journal/apply-note.js';
import { isMappedName } from '../snapshots/mapped-snapshot.js';
import { findOriginVolume, findStoreVolume, type OriginVolume } from '../snapshots/store-volume.js';
import { checkUndo, checkUnnamedBase, judgeUndo } from '../targets/base-check.js';
import type { OpenTarget } from '../targets/open-target.js';
import { describeTooSmall } from '../targets/room-needed.js';
import type { StateRecord } from '../targets/state-record.js';
import { targetKeyOf } from '../targets/target-key.js';
import { takeApart, type ClosedView } from './close-view.js';
import { planStore, type StorePlan } from './store-plan.js';
import type { StoreMaterial } from './store-writer.js';
import { lendForStore, type Retrospect, type ViewMaking, type ViewWish } from './view-making.js';
import { makeDeviceView, planDeviceView } from './view-of-device.js';
import { makeVolumeView, planVolumeView } from './view-of-volume.js';
import type { ViewEntry, ViewRecord } from './view-record.js';

/** An open view. Sizes in bytes. */
export interface OpenedView {
  readonly record: ViewRecord;
  /** The path of its device. */
  readonly path: string;
  readonly plan: StorePlan;
}

/**
 * Opens a view: a device next to the target that shows an earlier state of it. The target stays as it is. The view of
 * a logical volume is a snapshot of it; the view of anything else is a device over the target, which is read-only
 * while the view exists. No other program may use the target until the view is in place, and an error follows if
 * something wrote to it. After a failure everything is undone.
 *
 * Throws UsageError, UnsafeTargetError, BaseMismatchError, CommandError, DeviceError, and what the archives throw.
 */
export async function openView(
  retrospect: Retrospect,
  wish: ViewWish,
  entry: ViewEntry,
  env: Surroundings,
): Promise<OpenedView> {
  const { target, old } = retrospect;
  await checkStart(retrospect, wish, env);
  const origin = await originOf(target, env);
  await refuseTakenName(entry.name, origin, env);
  const plan = planStore(old.extents(), target.device.size, true);
  const material: StoreMaterial = { plan, old, target: target.device };
  const parts = await planParts(origin, wish, entry);
  const record = await draftOf(retrospect, { ...wish, name: entry.name }, parts, env);
  await entry.write(record);
  try {
    const making: ViewMaking = { target, material, wish, entry, lend: lendForStore(), env };
    const path =
      parts.form === 'volume'
        ? await makeVolumeView(parts, making)
        : await makeDeviceView(record, parts, making);
    const made = { ...((await entry.read()) ?? record), step: 'open' as const };
    await entry.write(made);
    return { record: made, path, plan };
  } catch (error) {
    await takeBack(entry, target.record, env);
    throw error;
  }
}

/** Checks that the target is in the state that the archives start from. Throws BaseMismatchError, UnsafeTargetError. */
export async function checkStart(
  { target: { device, folder, record, recoverWords }, old }: Retrospect,
  { targetName, forceBase }: Pick<ViewWish, 'targetName' | 'forceBase'>,
  env: Surroundings,
): Promise<void> {
  if (old.volumeSize > device.size) {
    const { path, size, number } = device;
    const sized = { path, size, isFile: number === null };
    const problem = describeTooSmall(sized, 'the volume of these archives', old.volumeSize);
    throw new UnsafeTargetError(targetName, problem);
  }
  if ((await readNote(folder)) !== null) {
    const problem = `half-written by a run that was cut short: ${recoverWords} first`;
    throw new BaseMismatchError(targetName, null, problem);
  }
  if (forceBase) return;
  const { holds } = await record.read();
  if (holds?.is === 'copying') checkUnnamedBase(device, holds);
  await checkUndo(device, old, holds, old.proveBase);
  if (judgeUndo(old, holds).is === 'fit') return;
  env.notice(
    `${targetName}: no record says for certain what state it is in: all parts that the archives replace were compared, ` +
      'and they match; the rest is assumed to match too',
  );
}

async function originOf({ device }: OpenTarget, { spawner }: Surroundings): Promise<OriginVolume | null> {
  if (device.number === null) return null;
  return await findOriginVolume(spawner, device.number);
}

async function refuseTakenName(
  name: string,
  origin: OriginVolume | null,
  { spawner }: Surroundings,
): Promise<void> {
  if (origin === null) {
    if (await isMappedName(name))
      throw new UsageError(`/dev/mapper/${name} already exists: give the view another name`);
    return;
  }
  const volume = `${origin.group}/${name}`;
  if ((await findStoreVolume(spawner, volume)) === null) return;
  throw new UsageError(`the volume ${volume} already exists: give the view another name`);
}

/** The names of what the view consists of. */
async function planParts(
  origin: OriginVolume | null,
  { storeFolder }: ViewWish,
  { name, folder }: ViewEntry,
): Promise<ViewRecord['parts']> {
  const mark = randomBytes(4).toString('hex');
  return origin === null
    ? await planDeviceView(storeFolder ?? folder, name, mark)
    : planVolumeView(origin, name, mark);
}

async function draftOf(
  { target, old }: Retrospect,
  { name, targetName, purpose }: Pick<ViewWish, 'targetName' | 'purpose'> & { readonly name: string },
  parts: ViewRecord['parts'],
  env: Surroundings,
): Promise<ViewRecord> {
  const { key, realPath } = await targetKeyOf(target.device.path);
  return {
    ...{ name, purpose, key, realPath, step: 'opening', target: targetName, state: old.result },
    openedAt: env.now().toISOString(),
    parts,
  };
}

/**
 * Removes what was made; if that fails, a notice says so, and the view's record stays. Returns what happened to the
 * view: null if it stays, or was never made.
 */
export async function takeBack(
  entry: ViewEntry,
  ofTarget: StateRecord,
  env: Surroundings,
): Promise<ClosedView | null> {
  try {
    const record = await entry.read();
    const outcome = record === null ? null : await ofTarget.keepThrough(() => takeApart(record, env));
    await entry.remove();
    return outcome;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    env.notice(
      `${entry.name}: half-made, and could not be removed (${reason}): run "lvmsync view close ${entry.name}"`,
    );
    return null;
  }
}
