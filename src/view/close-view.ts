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

/** udev reads a device for a moment after it was closed. */
const PATIENCE_MS = 2000;
const PAUSE_MS = 50;

/**
 * What happened to a view: it was closed; it was left half-made, and is removed; it is merging into its volume, or
 * did.
 */
export type ClosedView = 'closed' | 'cleaned up' | 'merging';

/**
 * Closes a view: removes everything that it is made of, including what a killed run or a crashed machine left behind.
 * The target stays as it is. Throws UsageError if there is no such view; UnsafeTargetError if it is in use;
 * CommandError, also while LVM does not see its volume group: the view's record stays then.
 */
export async function closeView(entry: ViewEntry, stateDir: string, env: Surroundings): Promise<ClosedView> {
  const record = await entry.read();
  if (record === null) throw new UsageError(`there is no view ${entry.name} (lvmsync view list shows them)`);
  const outcome = await withRecordKept(record, stateDir, env, () => takeApart(record, env));
  await entry.remove();
  return outcome;
}

/** A volume that loses a snapshot does not change: its record stays valid, unless another run has locked the target. */
async function withRecordKept<T>(
  { key, parts, name }: ViewRecord,
  stateDir: string,
  env: Surroundings,
  work: () => Promise<T>,
): Promise<T> {
  if (parts.form !== 'volume') return await work();
  const found = await targetKeyOf(`/dev/${parts.origin}`).catch(() => null);
  if (found?.key !== key) return await work();
  const folder = join(stateDir, 'targets', key);
  const holder = { what: `view close ${name}`, pid: process.pid, startedAt: env.now() };
  const lock = await lockFolder(folder, 'the target', holder).catch((error: unknown) => {
    if (error instanceof LockedError) return null;
    throw error;
  });
  if (lock === null) return await work();
  const record = recordOf(folder, found, env.spawner);
  return await record.keepThrough(work).finally(() => lock.release());
}

/** Removes the parts of a view that exist; safe to call twice. Throws as `closeView`. */
export async function takeApart(record: ViewRecord, env: Surroundings): Promise<ClosedView> {
  const { parts } = record;
  if (parts.form === 'device') await takeDeviceApart(record, parts, env);
  else if ((await takeVolumeApart(parts, env)) === 'merging') return 'merging';
  return record.step === 'open' ? 'closed' : 'cleaned up';
}

async function takeVolumeApart({ store, tag }: VolumeParts, env: Surroundings): Promise<'gone' | 'merging'> {
  const { spawner } = env;
  const found = await findStoreVolume(spawner, store);
  if (found?.is === 'merging') return 'merging';
  const number = found === null ? null : await findNode(`/dev/${store}`);
  if (number !== null) await refuseInUse(`/dev/${store}`, number, env);
  await removeStoreVolume(spawner, store, tag);
  return 'gone';
}

async function takeDeviceApart(
  { name, key, realPath }: ViewRecord,
  { uuid, storeFile, storeLoop, targetLoop, madeReadOnly }: DeviceParts,
  env: Surroundings,
): Promise<void> {
  const { spawner } = env;
  const number = await findMapped(spawner, uuid);
  if (number !== null) await refuseInUse(`/dev/mapper/${name}`, number, env);
  await unmapSnapshot(spawner, uuid);
  if (storeLoop !== null) await detachLoop(spawner, storeLoop);
  if (targetLoop !== null) await detachLoop(spawner, targetLoop);
  if (madeReadOnly) await makeWritable(realPath, key, env);
  await removeDurably(storeFile);
}

/** After a reboot the target may be elsewhere, or gone: then it is no longer read-only either. */
async function makeWritable(path: string, key: string, { spawner }: Surroundings): Promise<void> {
  const found = await targetKeyOf(path).catch(() => null);
  const number = found?.key === key ? found.number : null;
  if (number !== null && (await isReadOnly(number))) await setReadOnly(spawner, path, false);
}

/** Throws UnsafeTargetError if something has a view open, and keeps it open. */
async function refuseInUse(path: string, number: DeviceNumber, { spawner }: Surroundings): Promise<void> {
  const mapper = new DeviceMapper(spawner);
  const deadline = performance.now() + PATIENCE_MS;
  while ((await mapper.info(number)).openCount > 0) {
    if (performance.now() >= deadline) {
      const reason =
        (await findMount(number)) ?? 'open in a program, or part of another device: close it there first';
      throw new UnsafeTargetError(path, `it is ${reason}`);
    }
    await sleep(PAUSE_MS);
  }
}
