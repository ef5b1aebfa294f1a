import { SECTOR } from '../bytes/extent.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { readBirth, type DmSnapshot } from './snapshot.js';
import { readPoolStatus, type ThinPool } from './thin-pool.js';

/** How full something is that must not fill up. Bytes. */
export interface FillLevel {
  /** Such as "vg/snap: its store". */
  readonly what: string;
  readonly used: number;
  readonly size: number;
  /** What to do about it, and why. */
  readonly advice: string;
  /** When it was empty, in milliseconds since 1970; null if unknown. */
  emptyAt(): Promise<number | null>;
}

/** How full a classic snapshot's store is now; null if it is so full that the kernel gives no figures. */
export async function readStoreLevel(spawner: Spawner, snapshot: DmSnapshot): Promise<FillLevel | null> {
  const [target] = await new DeviceMapper(spawner).status(snapshot.number);
  const [, used, size] = /^(\d+)\/(\d+) \d+$/.exec(target?.words.join(' ') ?? '') ?? [];
  if (target?.type !== 'snapshot' || used === undefined || size === undefined) return null;
  return {
    what: `${snapshot.name}: its store`,
    used: Number(used) * SECTOR,
    size: Number(size) * SECTOR,
    advice: 'once it is full the snapshot is lost: extend it in time (lvextend -L +SIZE)',
    emptyAt: () => readBirth(spawner, snapshot),
  };
}

/** How full a thin pool is now: its data, and its metadata. Throws SnapshotError if the pool is not in order. */
export async function readPoolLevels(spawner: Spawner, pool: ThinPool): Promise<FillLevel[]> {
  const { used, size, metadata } = await readPoolStatus(spawner, pool);
  const emptyAt = () => Promise.resolve(null);
  const before = 'once it is full the volumes in it fail: extend it in time';
  return [
    { what: `${pool.dmName}: the pool`, used, size, advice: `${before} (lvextend -L +SIZE)`, emptyAt },
    {
      ...{ what: `${pool.dmName}: the pool’s metadata`, ...metadata, emptyAt },
      advice: `${before} (lvextend --poolmetadatasize +SIZE)`,
    },
  ];
}
