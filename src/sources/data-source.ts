import type { DeviceNumber } from '../device/device-facts.js';
import { NoSnapshotError, UsageError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { findDeviceNumber, nodeOf } from '../lvm/device-node.js';
import { readBirth, checkSnapshotStatus, findSnapshot, type DmSnapshot } from '../snapshots/snapshot.js';

/** Where new bytes are read: by default the origin. */
export interface DataSource {
  readonly path: string;
  /** The second snapshot, where it is one. */
  readonly snapshot: DmSnapshot | null;
  readonly number: DeviceNumber;
}

/**
 * Finds the device that `--data-source` names for the changes since `base`. Throws UsageError where it is the snapshot
 * itself or one of another volume, SnapshotError as `findSnapshot` of one that is not in order, or has no table.
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
      `--data-source ${name}: a snapshot of ${snapshot.originName}, while ${base.name} is one of ${base.originName}`,
    );
  }
  await checkSnapshotStatus(spawner, snapshot);
  return { path, snapshot, number };
}

/**
 * Of a data source that has changes which SNAPSHOT lacks: throws UsageError where LVM knows it to be the older one. They
 * would lead back, rightly so, but the two words were hardly meant that way.
 */
export async function refuseOlder(spawner: Spawner, base: DmSnapshot, data: DmSnapshot): Promise<void> {
  const [dataBirth, baseBirth] = [await readBirth(spawner, data), await readBirth(spawner, base)];
  if (dataBirth === null || baseBirth === null || dataBirth >= baseBirth) return;
  throw new UsageError(
    `--data-source ${data.name}: older than ${base.name}, and the volume changed between the two: name the older one as ` +
      `SNAPSHOT; to take a target back to ${data.name}, send that with --scan`,
  );
}
