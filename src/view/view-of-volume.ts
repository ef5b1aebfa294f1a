import { openLocalDevice } from '../device/local-device.js';
import { UnsafeTargetError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { describeNotActivated } from '../lvm/create-volume.js';
import { findNode, nodeOf, whyNoNode } from '../lvm/device-node.js';
import { attachStore, createStoreVolume, STORE_TAG, type OriginVolume } from '../snapshots/store-volume.js';
import { sizeForAll, type StorePlan } from './store-plan.js';
import { writeStore } from './store-writer.js';
import type { ViewMaking } from './view-making.js';
import type { VolumeParts } from './view-record.js';

const MEBIBYTE = 1024 * 1024;
/** By default the store has as much free room as it uses, and at least this much. Bytes. */
const LEAST_SPARE = 64 * MEBIBYTE;

/** What a view of a logical volume will be made of. Throws UnsafeTargetError if LVM cannot make a snapshot of it. */
export function planVolumeView(origin: OriginVolume, name: string, mark: string): VolumeParts {
  if (origin.isSnapshot) {
    throw new UnsafeTargetError(
      origin.fullName,
      'it is a snapshot itself, and LVM makes no snapshots of snapshots',
    );
  }
  if (origin.isMerging) {
    throw new UnsafeTargetError(
      origin.fullName,
      'a snapshot is being merged into it: wait until that is done',
    );
  }
  return {
    form: 'volume',
    origin: origin.fullName,
    store: `${origin.group}/${name}`,
    tag: `lvmsync.view.${mark}`,
  };
}

/**
 * Writes the store into a new volume of the group, and makes that a snapshot. A write to the target before then would
 * show up in the view, or as a torn chunk: we hold the target exclusively, and its write count must not change. Once
 * the snapshot exists, writes do no harm. Returns the path of the view.
 */
export async function makeVolumeView(
  { origin, store, tag }: VolumeParts,
  { target, material, wish, lend, env }: ViewMaking,
): Promise<string> {
  const { spawner } = env;
  const stamp = await target.record.stamp('its own');
  const [group = '', name = ''] = store.split('/');
  await createStoreVolume(spawner, { group, name, tag, bytes: sizeOf(material.plan, wish.spareBytes) });
  const number = await findNode(store);
  if (number === null) throw await whyNotThere(spawner, origin, store);
  const device = await openLocalDevice(await nodeOf(number), { writable: true, spawner });
  await writeStore(device, material, lend, env).finally(() => device.close());
  env.signal.throwIfAborted();
  const { chunkSize } = material.plan.layout;
  await target.record.keepThrough(() => attachStore(spawner, origin, store, chunkSize));
  if ((await target.record.stamp('its own')) !== stamp) {
    const problem =
      'it was written to while it was read: nothing may write to it until this is done; try again';
    throw new UnsafeTargetError(wish.targetName, problem);
  }
  return `/dev/${store}`;
}

/**
 * Why the store's volume has no node. The volume is removed again, so the error is about the volume that it was made
 * for.
 */
async function whyNotThere(spawner: Spawner, origin: string, store: string): Promise<UnsafeTargetError> {
  const why = await whyNoNode(spawner, store);
  const problem =
    why?.isActive === false
      ? describeNotActivated([`@${STORE_TAG}`])
      : (why?.problem ?? 'it has disappeared');
  return new UnsafeTargetError(origin, `its view needs the volume ${store} for its store: ${problem}`);
}

/** LVM makes a snapshot's store no larger than its whole origin needs. */
function sizeOf(plan: StorePlan, spareBytes: number | null): number {
  const spare = spareBytes ?? Math.max(plan.usedBytes, LEAST_SPARE);
  return Math.min(plan.usedBytes + spare, sizeForAll(plan));
}
