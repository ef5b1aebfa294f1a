import { setTimeout as sleep } from 'node:timers/promises';
import type { DeviceNumber } from '../device/device-facts.js';
import { UnsafeTargetError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import {
  beginMerge,
  findOriginVolume,
  findStoreVolume,
  retryMerge,
  type OriginVolume,
} from '../snapshots/store-volume.js';
import type { OpenTarget } from '../targets/open-target.js';
import { believe, isSurely, type KnownState, type StateRecord } from '../targets/state-record.js';
import { openView, takeBack, type OpenedView } from './open-view.js';
import type { Retrospect } from './view-making.js';
import type { ViewEntry } from './view-record.js';

/** How long something may have the volume open between our closing it and the start of the merge: udev does. */
const PATIENCE_MS = 10_000;
const PAUSE_MS = 250;

const NOT_SURE = 'it was not certain that it held the state that the rollback starts from';

/** Writes during the merge go to the volume, or to chunks that the store already has: it needs no spare room. Bytes. */
const SPARE_BYTES = 4 * 1024 * 1024;

/**
 * Rolls a logical volume back at once: a store of its old bytes becomes its snapshot, and LVM merges that snapshot.
 * Once the merge begins, the volume reads as it was; the kernel copies in the background, and LVM continues after a
 * reboot or a crash. Before that nothing is written, and a failure leaves the volume as it was.
 *
 * Throws UnsafeTargetError if the volume is not a plain logical volume, has snapshots, or was opened before the merge
 * began; otherwise as `openView`.
 */
export async function rollBack(
  retrospect: Retrospect,
  { targetName, forceBase }: { readonly targetName: string; readonly forceBase: boolean },
  entry: ViewEntry,
  env: Surroundings,
): Promise<OpenedView> {
  const { target, old } = retrospect;
  const volume = await checkRollBack(target, targetName, env);
  const wish = { purpose: 'rollback', spareBytes: SPARE_BYTES, storeFolder: null } as const;
  const opened = await openView(retrospect, { ...wish, targetName, forceBase }, entry, env);
  const { base, result } = old;
  const snapshot = `${volume.origin.group}/${entry.name}`;
  const known = await knowBefore(target);
  try {
    env.signal.throwIfAborted();
    await target.record.write(base === null ? null : { is: 'applying from', identity: base, from: base });
    // LVM postpones the merge while anything has the volume open: so we close it, and keep its lock.
    await target.device.close();
    await merge(volume, snapshot, targetName, env);
  } catch (error) {
    await abandon(snapshot, known, entry, env);
    throw error;
  }
  if (result === null) await target.record.write(null);
  else {
    const state = { is: 'exactly', identity: result, from: null } as const;
    const isSure = isSurely(known.state.holds, base) || isSurely(known.state.holds, result);
    await target.record.writeWhileMerging(isSure ? state : believe(state, NOT_SURE));
  }
  await entry.remove();
  return opened;
}

/** What is known about a target, and a stamp that shows later whether anything wrote to it. */
interface KnownBefore {
  readonly record: StateRecord;
  readonly state: KnownState;
  readonly stamp: string;
}

async function knowBefore({ record }: OpenTarget): Promise<KnownBefore> {
  return { record, state: await record.read(), stamp: await record.stamp('its own') };
}

/** After a failure: unless LVM has already started the merge, removes the snapshot and restores the target's record. */
async function abandon(
  snapshot: string,
  { record, state, stamp }: KnownBefore,
  entry: ViewEntry,
  env: Surroundings,
): Promise<void> {
  const found = await findStoreVolume(env.spawner, snapshot).catch(() => null);
  const outcome = await takeBack(entry, record, env);
  if (outcome === 'merging') env.notice(`${snapshot}: LVM has accepted its merge, and will complete it`);
  if (outcome !== 'closed' || found?.is !== 'snapshot') return;
  // If even that fails, the record says less than is known; the first error is the more useful one.
  if ((await record.stamp('its own')) === stamp)
    await record.write(state.holds, state.run).catch(() => undefined);
}

/** A volume that a merge can roll back, and its device. */
interface MergeableVolume {
  readonly number: DeviceNumber;
  readonly origin: OriginVolume;
}

/** Finds the volume that a target is. Throws UnsafeTargetError with the reason if a merge cannot roll it back. */
export async function checkRollBack(
  { device: { number } }: OpenTarget,
  targetName: string,
  { spawner }: Surroundings,
): Promise<MergeableVolume> {
  const origin = number === null ? null : await findOriginVolume(spawner, number);
  const problem = whyNot(origin);
  if (number !== null && origin !== null && problem === null) return { number, origin };
  const advice = 'restore without --instant writes the old bytes back';
  throw new UnsafeTargetError(
    targetName,
    `no instant rollback: ${problem ?? 'it is not a device'}; ${advice}`,
  );
}

/** Why a merge cannot roll a device back; null if it can. */
function whyNot(origin: OriginVolume | null): string | null {
  if (origin === null) return 'it is not a logical volume';
  if (origin.isThin) return 'it is a thin volume, and the kernel cannot merge a store into one';
  if (origin.isSnapshot) return 'it is a snapshot itself';
  if (origin.isMerging) return 'a snapshot is being merged into it: wait until that is done';
  if (origin.snapshots.length === 0) return null;
  const names = origin.snapshots.join(', ');
  return `it has snapshots (${names}), and each would have to keep all that the merge overwrites: close or remove them first`;
}

async function merge(
  { number, origin }: MergeableVolume,
  snapshot: string,
  targetName: string,
  env: Surroundings,
): Promise<void> {
  const { spawner } = env;
  const originName = origin.fullName;
  const deadline = env.clock() + PATIENCE_MS;
  for (
    let begun = await beginMerge(spawner, number, snapshot);
    !begun;
    begun = await retryMerge(spawner, number, originName)
  ) {
    if (env.clock() >= deadline) {
      const how = `"lvchange --refresh ${originName}", or when it is next activated, once nothing has it open`;
      throw new UnsafeTargetError(
        targetName,
        `opened by another program just before the rollback began: LVM postponed it, and begins it on ${how}`,
      );
    }
    await sleep(PAUSE_MS);
  }
}
