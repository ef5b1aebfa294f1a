import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isReadOnly, type DeviceNumber } from '../device/device-facts.js';
import { LockedError, UnsafeTargetError, UsageError } from '../errors.js';
import { removeDurably } from '../host/durable-file.js';
import { lockFolder } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { findNode } from '../lvm/device-node.js';
import { detachLoop } from '../lvm/loop-device.js';
import { findMapped, setReadOnly, unmapSnapshot } from '../snapshots/mapped-snapshot.js';
import { findStoreVolume, removeStoreVolume } from '../snapshots/store-volume.js';
import { recordOf } from '../targets/state-record.js';
import { targetKeyOf } from '../targets/target-key.js';
import { findMount } from '../usage/holders.js';
import type { DeviceParts, ViewEntry, ViewRecord, VolumeParts } from './view-record.js';

/** udev looks into a device for a moment after it was closed. */
const PATIENCE_MS = 2000;
const PAUSE_MS = 50;

/** What closing a view found: it was there; it was left half-made; it goes, or went, back into its volume. */
export type ClosedView = 'closed' | 'cleaned up' | 'merging';

/**
 * Closes a view: all that it is made of goes, also what a run that was killed, or a machine that crashed, left of it.
 * The target is as it was. Throws UsageError where there is none; UnsafeTargetError where it is in use; CommandError,
 * also while LVM does not see its volume group: it stays noted then.
 */
export async function closeView(
  entry: ViewEntry,
  stateDir: string,
  about: Surroundings,
): Promise<ClosedView> {
  const record = await entry.read();
  if (record === null) throw new UsageError(`there is no view ${entry.name} (lvmsync view list shows them)`);
  const outcome = await withRecordKept(record, stateDir, about, () => takeApart(record, about));
  await entry.remove();
  return outcome;
}

/** A volume that loses a snapshot is what it was: what is recorded of it stays so, where no other run has it locked. */
async function withRecordKept<T>(
  { key, parts, name }: ViewRecord,
  stateDir: string,
  about: Surroundings,
  work: () => Promise<T>,
): Promise<T> {
  if (parts.form !== 'volume') return await work();
  const found = await targetKeyOf(`/dev/${parts.origin}`).catch(() => null);
  if (found?.key !== key) return await work();
  const folder = join(stateDir, 'targets', key);
  const holder = { what: `view close ${name}`, pid: process.pid, startedAt: about.now() };
  const lock = await lockFolder(folder, 'the target', holder).catch((error: unknown) => {
    if (error instanceof LockedError) return null;
    throw error;
  });
  if (lock === null) return await work();
  const record = recordOf(folder, found, about.spawner);
  return await record.keepThrough(work).finally(() => lock.release());
}

/** Removes what a view is made of, as far as it is there; a second time does no harm. Throws as `closeView`. */
export async function takeApart(record: ViewRecord, about: Surroundings): Promise<ClosedView> {
  const { parts } = record;
  if (parts.form === 'device') await takeDeviceApart(record, parts, about);
  else if ((await takeVolumeApart(parts, about)) === 'merging') return 'merging';
  return record.step === 'open' ? 'closed' : 'cleaned up';
}

async function takeVolumeApart(
  { store, tag }: VolumeParts,
  about: Surroundings,
): Promise<'gone' | 'merging'> {
  const { spawner } = about;
  const found = await findStoreVolume(spawner, store);
  if (found?.is === 'merging') return 'merging';
  const number = found === null ? null : await findNode(`/dev/${store}`);
  if (number !== null) await refuseInUse(`/dev/${store}`, number, about);
  await removeStoreVolume(spawner, store, tag);
  return 'gone';
}

async function takeDeviceApart(
  { name, key, realPath }: ViewRecord,
  { uuid, storeFile, storeLoop, targetLoop, madeReadOnly }: DeviceParts,
  about: Surroundings,
): Promise<void> {
  const { spawner } = about;
  const number = await findMapped(spawner, uuid);
  if (number !== null) await refuseInUse(`/dev/mapper/${name}`, number, about);
  await unmapSnapshot(spawner, uuid);
  if (storeLoop !== null) await detachLoop(spawner, storeLoop);
  if (targetLoop !== null) await detachLoop(spawner, targetLoop);
  if (madeReadOnly) await makeWritable(realPath, key, about);
  await removeDurably(storeFile);
}

/** After a reboot the target may be elsewhere, or nowhere: then it is not read-only any more either. */
async function makeWritable(path: string, key: string, { spawner }: Surroundings): Promise<void> {
  const found = await targetKeyOf(path).catch(() => null);
  const number = found?.key === key ? found.number : null;
  if (number !== null && (await isReadOnly(number))) await setReadOnly(spawner, path, false);
}

/** Throws UnsafeTargetError where someone has a view open, and keeps it open. */
async function refuseInUse(path: string, number: DeviceNumber, { spawner }: Surroundings): Promise<void> {
  const mapper = new DeviceMapper(spawner);
  const deadline = performance.now() + PATIENCE_MS;
  while ((await mapper.info(number)).openCount > 0) {
    if (performance.now() >= deadline) {
      const reason =
        (await findMount(number)) ?? 'open in a program, or part of another device: end that first';
      throw new UnsafeTargetError(path, `it is ${reason}`);
    }
    await sleep(PAUSE_MS);
  }
}
