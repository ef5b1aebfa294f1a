import type { DeviceNumber } from '../device/device-facts.js';
import { NoSnapshotError, SnapshotError, UsageError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { findThinPool, type ThinPool } from '../snapshots/thin-pool.js';
import { findThinVolume, type ThinVolume } from '../snapshots/thin-volume.js';

/** A thin volume that can be read. */
export type ActiveThinVolume = ThinVolume & { readonly active: { readonly number: DeviceNumber } };

/** Two devices of a thin pool; the changes are the differences between them. */
export interface ThinPair {
  /** What the changes start from; it may be inactive, because only the pool's metadata is needed. */
  readonly old: ThinVolume;
  /** What has the new bytes. */
  readonly now: ActiveThinVolume;
  readonly pool: ThinPool;
}

/**
 * Finds what belongs to a thin snapshot: its pool, and the device with the new bytes, which is its origin unless
 * `dataSource` names another one.
 *
 * Throws NoSnapshotError if it has no origin, or if the origin is not a thin volume; SnapshotError if the data source
 * is inactive, or the two cannot be compared; UsageError if they are not two devices of one pool.
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
      ? 'a thin volume that LVM does not manage, so its origin is unknown'
      : 'a thin volume that is not a snapshot, or whose origin is gone';
  throw new NoSnapshotError(name, `${problem}: give the device with the new bytes (--data-source)`);
}

function noThinVolume({ name, lvm }: ThinVolume, dataSource: string | undefined): Error {
  if (dataSource !== undefined) {
    return new UsageError(
      `--data-source ${dataSource}: not a thin volume, but ${name} is one: use a thin volume of the same pool`,
    );
  }
  const problem = `its origin ${lvm?.origin ?? ''} is not a readable thin volume, or has a classic snapshot`;
  return new NoSnapshotError(name, `${problem}: give the device with the new bytes (--data-source)`);
}

function inactive({ name, lvm }: ThinVolume): SnapshotError {
  const problem = 'inactive, so its bytes cannot be read: activate it first';
  return new SnapshotError(name, `${problem} (lvchange -ay -K ${lvm?.fullName ?? name})`);
}

function checkTogether(old: ThinVolume, now: ActiveThinVolume, dataSource: string | undefined): void {
  const given = dataSource === undefined ? now.name : `--data-source ${dataSource}`;
  const isOnePool =
    old.active === null ? old.lvm?.poolName === now.lvm?.poolName : old.active.pool === now.active.pool;
  if (!isOnePool) throw new UsageError(`${given}: not in the same thin pool as ${old.name}`);
  if (old.deviceId === now.deviceId) {
    throw new UsageError(`${given}: this is ${old.name} itself, which holds the old bytes`);
  }
  if (old.externalOrigin === now.externalOrigin) return;
  // Otherwise, chunks that neither of them maps may differ, and thin_delta does not list them.
  const problem =
    old.externalOrigin === 'some' && now.externalOrigin !== null
      ? `it has an external origin, which can only be found while it is active: lvchange -ay -K ${old.lvm?.fullName ?? ''}`
      : `it and ${now.name} do not have the same external origin: chunks that neither of them maps cannot be compared`;
  throw new SnapshotError(old.name, problem);
}
