import type { DeviceNumber } from '../device/device-facts.js';
import { NoSnapshotError, UsageError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { findDeviceNumber, nodeOf } from '../lvm/device-node.js';
import { readBirth, checkSnapshotStatus, findSnapshot, type DmSnapshot } from '../snapshots/snapshot.js';

/** The device that the new bytes are read from: by default the origin. */
export interface DataSource {
  readonly path: string;
  /** The second snapshot; null if the device is not a snapshot. */
  readonly snapshot: DmSnapshot | null;
  readonly number: DeviceNumber;
}

/**
 * Finds the device that `--data-source` names for the changes since `base`. Throws UsageError if it is the snapshot
 * itself or a snapshot of another volume, and SnapshotError as `findSnapshot` if it is invalid or has no table.
 */
export async function findDataSource(
  spawner: Spawner,
  base: DmSnapshot,
  name: string | undefined,
): Promise<DataSource> {
  const number = name === undefined ? base.origin : await findDeviceNumber(spawner, name);
  const path = await nodeOf(number);
  if (name === undefined || number === base.origin) return { path, snapshot: null, number };
  if (number === base.number) {
    throw new UsageError(`--data-source ${name}: this is the snapshot itself, which holds the old bytes`);
  }
  const snapshot = await findSnapshot(spawner, name).catch((error: unknown) => {
    if (error instanceof NoSnapshotError) return null;
    throw error;
  });
  if (snapshot === null) return { path, snapshot, number };
  if (snapshot.origin !== base.origin) {
    throw new UsageError(
      `--data-source ${name}: it is a snapshot of ${snapshot.originName}, but ${base.name} is a snapshot of ${base.originName}`,
    );
  }
  await checkSnapshotStatus(spawner, snapshot);
  return { path, snapshot, number };
}

/**
 * For a data source with changes that are not in SNAPSHOT: throws UsageError if LVM says that it is the older one. Such
 * a stream would correctly lead back in time, but the user has hardly meant that; more likely, the names are swapped.
 */
export async function refuseOlder(spawner: Spawner, base: DmSnapshot, data: DmSnapshot): Promise<void> {
  const [dataBirth, baseBirth] = [await readBirth(spawner, data), await readBirth(spawner, base)];
  if (dataBirth === null || baseBirth === null || dataBirth >= baseBirth) return;
  throw new UsageError(
    `--data-source ${data.name}: it is older than ${base.name}, and the volume changed between the two: use the older ` +
      `one as SNAPSHOT; to take a target back to ${data.name}, send it with --scan`,
  );
}
