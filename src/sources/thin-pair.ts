import type { DeviceNumber } from '../device/device-facts.js';
import { NoSnapshotError, SnapshotError, UsageError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { findThinPool, type ThinPool } from '../snapshots/thin-pool.js';
import { findThinVolume, type ThinVolume } from '../snapshots/thin-volume.js';

/** A thin volume that can be read. */
export type ActiveThinVolume = ThinVolume & { readonly active: { readonly number: DeviceNumber } };

/** Two devices of a thin pool: what lies between them is what changed. */
export interface ThinPair {
  /** What the changes start from; it may be inactive, as only the pool's metadata is needed of it. */
  readonly old: ThinVolume;
  /** What has the new bytes. */
  readonly now: ActiveThinVolume;
  readonly pool: ThinPool;
}

/**
 * Finds what belongs to a thin snapshot: its pool, and the device with the new bytes, which is its origin unless
 * `dataSource` names another one.
 *
 * Throws NoSnapshotError where it has no origin, or one that is no thin volume; SnapshotError where the data source
 * is inactive, or the two cannot be compared; UsageError where they are not two devices of one pool.
 */
export async function findThinPair(
  spawner: Spawner,
  old: ThinVolume,
  dataSource: string | undefined,
): Promise<ThinPair> {
  const found = await findThinVolume(spawner, dataSource ?? originOf(old));
  if (found === null) throw noThinVolume(old, dataSource);
  const { active } = found;
  if (active === null) throw inactive(found);
  const now = { ...found, active };
  checkTogether(old, now, dataSource);
  return { old, now, pool: await findThinPool(spawner, active.pool) };
}

function originOf({ name, lvm }: ThinVolume): string {
  if (lvm?.origin !== undefined && lvm.origin !== null) return lvm.origin;
  const problem =
    lvm === null
      ? 'a thin volume that LVM did not make, so nothing tells its origin'
      : 'a thin volume that is no snapshot, or whose origin is gone';
  throw new NoSnapshotError(name, `${problem}: name the device with the new bytes (--data-source)`);
}

function noThinVolume({ name, lvm }: ThinVolume, dataSource: string | undefined): Error {
  if (dataSource !== undefined) {
    return new UsageError(
      `--data-source ${dataSource}: no thin volume, while ${name} is one: name one of its pool`,
    );
  }
  const problem = `its origin ${lvm?.origin ?? ''} is no thin volume that could be read, or has a classic snapshot`;
  return new NoSnapshotError(name, `${problem}: name the device with the new bytes (--data-source)`);
}

function inactive({ name, lvm }: ThinVolume): SnapshotError {
  const problem = 'inactive, so its bytes cannot be read: activate it first';
  return new SnapshotError(name, `${problem} (lvchange -ay -K ${lvm?.fullName ?? name})`);
}

function checkTogether(old: ThinVolume, now: ActiveThinVolume, dataSource: string | undefined): void {
  const given = dataSource === undefined ? now.name : `--data-source ${dataSource}`;
  const isOnePool =
    old.active === null ? old.lvm?.poolName === now.lvm?.poolName : old.active.pool === now.active.pool;
  if (!isOnePool) throw new UsageError(`${given}: not of the same thin pool as ${old.name}`);
  if (old.deviceId === now.deviceId) {
    throw new UsageError(`${given}: this is ${old.name} itself, which holds the old bytes`);
  }
  if (old.externalOrigin === now.externalOrigin) return;
  // Chunks that neither of them maps then differ, and no delta names them.
  const problem =
    old.externalOrigin === 'some' && now.externalOrigin !== null
      ? `it has an external origin, and which one shows only while it is active: lvchange -ay -K ${old.lvm?.fullName ?? ''}`
      : `it and ${now.name} have not the same external origin: what neither of them maps is not comparable`;
  throw new SnapshotError(old.name, problem);
}
