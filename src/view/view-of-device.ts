import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { SECTOR } from '../bytes/extent.js';
import { isReadOnly } from '../device/device-facts.js';
import { openLocalDevice } from '../device/local-device.js';
import { DeviceError, UnsafeTargetError } from '../errors.js';
import { describeRefusal, openNew, syncFolderOf } from '../host/durable-file.js';
import { attachLoop } from '../lvm/loop-device.js';
import { mapSnapshot, numberOf, setReadOnly, VIEW_UUID_PREFIX } from '../snapshots/mapped-snapshot.js';
import { sizeForAll, type StorePlan } from './store-plan.js';
import { writeStore } from './store-writer.js';
import type { ViewMaking } from './view-making.js';
import type { DeviceParts, ViewRecord } from './view-record.js';

/**
 * What a view of a plain device, or of an image file, will be made of. The store's name contains the mark: whatever
 * goes wrong, a file with that name is ours to remove. Throws DeviceError if the folder does not exist.
 */
export async function planDeviceView(folder: string, name: string, mark: string): Promise<DeviceParts> {
  const realFolder = await realpath(folder).catch((error: unknown) => {
    throw new DeviceError(folder, 'stat', null, describeRefusal(error));
  });
  const storeFile = join(realFolder, `${name}.${mark}.cow`);
  const uuid = `${VIEW_UUID_PREFIX}${mark}`;
  return { form: 'device', uuid, storeFile, storeLoop: null, targetLoop: null, madeReadOnly: false };
}

/**
 * Makes the target read-only, writes the store into a sparse file, and puts the store over the target. Returns the
 * path of the view. Nothing copies the target's old bytes here: a write to the target would show up in the view.
 */
export async function makeDeviceView(
  record: ViewRecord,
  planned: DeviceParts,
  { target, material, wish, entry, lend, env }: ViewMaking,
): Promise<string> {
  const { spawner } = env;
  const { device } = target;
  if (device.size % SECTOR !== 0) {
    throw new UnsafeTargetError(
      wish.targetName,
      `its size is not a multiple of ${SECTOR} bytes: no device can show it`,
    );
  }
  let parts = planned;
  const note = async (more: Partial<DeviceParts>) => {
    parts = { ...parts, ...more };
    await entry.write({ ...record, parts });
  };
  const stamp = await target.record.stamp();
  if (device.number !== null && !(await isReadOnly(device.number))) {
    await note({ madeReadOnly: true });
    await setReadOnly(spawner, device.path, true);
  }
  await makeSparseFile(parts.storeFile, sizeOf(material.plan, wish.spareBytes));
  const store = await openLocalDevice(parts.storeFile, { writable: true, followLinks: false, spawner });
  await writeStore(store, material, lend, env).finally(() => store.close());
  env.signal.throwIfAborted();
  const storeLoop = await attachLoop(spawner, { file: parts.storeFile, isReadOnly: false }, (loop) =>
    note({ storeLoop: loop }),
  );
  // Device-mapper claims the target for itself.
  await device.close();
  const origin =
    device.number ??
    (await numberOf(
      await attachLoop(spawner, { file: record.realPath, isReadOnly: true }, (loop) =>
        note({ targetLoop: loop }),
      ),
    ));
  const { chunkSize } = material.plan.layout;
  await mapSnapshot(spawner, {
    ...{ name: record.name, uuid: parts.uuid, origin, chunkSize },
    store: await numberOf(storeLoop),
  });
  if ((await target.record.stamp()) !== stamp) {
    const problem = 'it was written to while it was read: nothing may write to it until the view is closed';
    throw new UnsafeTargetError(wish.targetName, problem);
  }
  return `/dev/mapper/${record.name}`;
}

/**
 * Only its owner can read the file, because it holds a volume's bytes. It has room for every chunk: in a sparse file
 * that costs nothing.
 */
export async function makeSparseFile(path: string, bytes: number): Promise<void> {
  try {
    const file = await openNew(path);
    await file.truncate(bytes).finally(() => file.close());
  } catch (error) {
    throw new DeviceError(path, 'write', null, error);
  }
  await syncFolderOf(path);
}

function sizeOf(plan: StorePlan, spareBytes: number | null): number {
  return spareBytes === null ? sizeForAll(plan) : Math.min(plan.usedBytes + spareBytes, sizeForAll(plan));
}
