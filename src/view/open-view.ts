import { randomBytes } from 'node:crypto';
import type { LendBuffer } from '../bytes/byte-channel.js';
import { BaseMismatchError, UnsafeTargetError, UsageError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { readNote } from '../journal/journal.js';
import { isMappedName } from '../snapshots/mapped-snapshot.js';
import { findOriginVolume, findStoreVolume, type OriginVolume } from '../snapshots/store-volume.js';
import { checkUndo, checkUnnamedBase, judgeUndo } from '../targets/base-check.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { StateRecord } from '../targets/state-record.js';
import { targetKeyOf } from '../targets/target-key.js';
import { takeApart, type ClosedView } from './close-view.js';
import { planStore, type StorePlan } from './store-plan.js';
import type { StoreMaterial } from './store-writer.js';
import type { OldState, ViewMaking, ViewWish } from './view-making.js';
import { makeDeviceView, planDeviceView } from './view-of-device.js';
import { makeVolumeView, planVolumeView } from './view-of-volume.js';
import type { ViewEntry, ViewRecord } from './view-record.js';

/** A view that is open. Sizes in bytes. */
export interface OpenedView {
  readonly record: ViewRecord;
  /** Where it shows. */
  readonly path: string;
  readonly plan: StorePlan;
}

/**
 * Opens a view: beside the target, which stays as it is, a device that shows what the target was. Of a logical volume
 * it becomes a snapshot; of anything else a device over the target, which is read-only as long as it is there. The
 * target is ours alone until the view is in place, and was not written meanwhile. Whatever fails is taken back.
 *
 * Throws UsageError, UnsafeTargetError, BaseMismatchError, CommandError, DeviceError, and what the archives throw.
 */
export async function openView(
  target: OpenTarget,
  old: OldState,
  wish: ViewWish,
  entry: ViewEntry,
  lend: LendBuffer,
  about: Surroundings,
): Promise<OpenedView> {
  await checkStart(target, old, wish, about);
  const origin = await originOf(target, about);
  await refuseTakenName(entry.name, origin, about);
  const plan = planStore(old.extents(), target.device.size, true);
  const material: StoreMaterial = { plan, old, target: target.device };
  const record = await draftOf(target, old, wish, entry, origin, about);
  await entry.write(record);
  try {
    const making: ViewMaking = { target, material, wish, entry, lend, about };
    const { parts } = record;
    const path =
      parts.form === 'volume'
        ? await makeVolumeView(parts, making)
        : await makeDeviceView(record, parts, making);
    const made = { ...((await entry.read()) ?? record), step: 'open' as const };
    await entry.write(made);
    return { record: made, path, plan };
  } catch (error) {
    await takeBack(entry, target.record, about);
    throw error;
  }
}

/** Whether the target is in the state that the archives start from. Throws BaseMismatchError, UnsafeTargetError. */
export async function checkStart(
  { device, folder, record, recoverWords }: OpenTarget,
  old: OldState,
  { targetName, forceBase }: Pick<ViewWish, 'targetName' | 'forceBase'>,
  about: Surroundings,
): Promise<void> {
  if (old.volumeSize > device.size) {
    const problem = `too small: it has ${device.size} bytes, the archives' volume ${old.volumeSize}`;
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
  about.notice(
    `${targetName}: no record says for sure in which state it is: all that the archives replace was compared, ` +
      'and is what they start from; that the rest is as well is believed',
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
      throw new UsageError(`/dev/mapper/${name} exists: give the view another name`);
    return;
  }
  const volume = `${origin.group}/${name}`;
  if ((await findStoreVolume(spawner, volume)) === null) return;
  throw new UsageError(`the volume ${volume} exists: give the view another name`);
}

async function draftOf(
  target: OpenTarget,
  old: OldState,
  { targetName, purpose, storeFolder }: ViewWish,
  { name, folder }: ViewEntry,
  origin: OriginVolume | null,
  about: Surroundings,
): Promise<ViewRecord> {
  const { key, realPath } = await targetKeyOf(target.device.path);
  const mark = randomBytes(4).toString('hex');
  return {
    ...{ name, purpose, key, realPath, step: 'opening', target: targetName, state: old.result },
    openedAt: about.now().toISOString(),
    parts:
      origin === null
        ? await planDeviceView(storeFolder ?? folder, name, mark)
        : planVolumeView(origin, name, mark),
  };
}

/**
 * What was made goes; what cannot go is named, and stays noted. What became of it is returned: null where it stays, or
 * was never made.
 */
export async function takeBack(
  entry: ViewEntry,
  ofTarget: StateRecord,
  about: Surroundings,
): Promise<ClosedView | null> {
  try {
    const record = await entry.read();
    const outcome = record === null ? null : await ofTarget.keepThrough(() => takeApart(record, about));
    await entry.remove();
    return outcome;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    about.notice(
      `${entry.name}: half-made, and could not be taken back (${reason}): lvmsync view close ${entry.name}`,
    );
    return null;
  }
}
