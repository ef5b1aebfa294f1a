import type { ChangeSet } from '../changes/change-set.js';
import type { FillingSource } from '../changes/change-source.js';
import { isReadOnly, type DeviceNumber } from '../device/device-facts.js';
import { openLocalDevice, type LocalDevice } from '../device/local-device.js';
import { SnapshotError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { nodeOf } from '../lvm/device-node.js';
import { readPoolLevels, type FillLevel } from '../snapshots/fill-level.js';
import { LiveWatch } from '../snapshots/live-watch.js';
import { readBirth } from '../snapshots/snapshot.js';
import { makeTemporarySnapshot, removeLeftOvers } from '../snapshots/temporary-snapshot.js';
import { readPoolStatus, type ThinPoolStatus } from '../snapshots/thin-pool.js';
import { findThinDelta } from '../snapshots/thin-tools.js';
import { findThinVolume, type ThinVolume } from '../snapshots/thin-volume.js';
import { stoppedIdentity } from '../targets/state-record.js';
import { readThinChanges } from './read-thin-delta.js';
import { findThinPair, type ActiveThinVolume, type ThinPair } from './thin-pair.js';
import { warnOfFilling } from './watch-filling.js';

/** What a pool should have left before a snapshot is made that keeps what is overwritten meanwhile. */
const LOW_ON_SPACE = 0.1;

/** What lies between a thin snapshot and its origin, or another device of its pool. Sizes in bytes. */
export interface ThinContents {
  readonly chunkSize: number;
  readonly changes: ChangeSet;
  readonly poolSize: number;
  readonly poolUsed: number;
  readonly poolMetadataSize: number;
  readonly poolMetadataUsed: number;
}

/** Reads what changed since a thin snapshot, without its data. Throws as `openThinSource`. */
export async function readThinContents(old: ThinVolume, about: Surroundings): Promise<ThinContents> {
  const pair = await findThinPair(about.spawner, old, undefined);
  const { used, size, metadata } = await readPoolStatus(about.spawner, pair.pool);
  const { chunkSize } = pair.pool;
  const thinDelta = await findThinDelta(about);
  await warnOfFilling(() => readPoolLevels(about.spawner, pair.pool), about);
  return {
    ...{ chunkSize, changes: await readThinChanges(pair, thinDelta, about), poolSize: size, poolUsed: used },
    ...{ poolMetadataSize: metadata.size, poolMetadataUsed: metadata.used },
  };
}

/**
 * Opens the changes from a thin snapshot to its origin, or to `dataSource`, another device of the pool. Where that is
 * in use, a temporary snapshot of it, which `close` removes, makes the data one moment's.
 *
 * Throws NoSnapshotError, SnapshotError, UsageError as `findThinPair`, also where the pool is not in order;
 * CommandError, DeviceError.
 */
export async function openThinSource(
  old: ThinVolume,
  dataSource: string | undefined,
  about: Surroundings,
): Promise<FillingSource<FillLevel>> {
  const pair = await findThinPair(about.spawner, old, dataSource);
  const status = await readPoolStatus(about.spawner, pair.pool);
  // Before a snapshot is made that would be of no use without it.
  const thinDelta = await findThinDelta(about);
  await sayWhatIsDoubtful(pair, about);
  if (pair.now.lvm !== null) await removeLeftOvers(pair.now.lvm.group, about);
  const data = await holdData(pair.now, status, about);
  const opened: LocalDevice[] = [];
  const close = async () => {
    await Promise.all(opened.map((device) => device.close()));
    await data.release();
  };
  const open = async (number: DeviceNumber) => {
    const device = await openLocalDevice(await nodeOf(number), { spawner: about.spawner });
    opened.push(device);
    return device;
  };
  try {
    const base = old.active === null ? null : await open(old.active.number);
    const device = await open(data.volume.active.number);
    return {
      name: old.name,
      origin: pair.now.lvm?.fullName ?? pair.now.name,
      base: old.uuid,
      result: data.identity,
      volumeSize: device.size,
      data: device,
      isDataTemporary: data.isTemporary,
      baseVolume: base,
      // What is the same in both can be read of either.
      unchangedVolume: device,
      // Neither device maps such chunks, so thin_delta does not name them.
      forgetsDiscarded: true,
      isBaseReadOnly: old.active !== null && (await isReadOnly(old.active.number)),
      paths: [...opened.map(({ path }) => path), await nodeOf(pair.now.active.number)],
      live: false,
      readChanges: () => readThinChanges({ ...pair, now: data.volume }, thinDelta, about),
      checkValid: async () => {
        await readPoolStatus(about.spawner, pair.pool);
      },
      readLevels: () => readPoolLevels(about.spawner, pair.pool),
      isConsistent: async () => data.watch === null || (await data.watch.sawNoWriter()),
      // Only a snapshot is in the state in which it was made.
      ...(data.identity === data.volume.uuid ? { madeAt: () => readBirth(about.spawner, data.volume) } : {}),
      // One can be activated, written and deactivated again with nothing left that tells.
      dataProof: () => Promise.resolve(null),
      close,
    };
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
}

/** Where the new bytes are read, and what is known of them. */
export interface HeldData {
  readonly volume: ActiveThinVolume;
  readonly identity: string | null;
  /** Whether it is a snapshot that goes with the release. */
  readonly isTemporary: boolean;
  /** Watches a device that others could write to; null where none can. */
  readonly watch: LiveWatch | null;
  release(): Promise<void>;
}

/** Holds a thin volume still while it is read: as it is, or as a snapshot of it. Throws as `openThinSource`. */
export async function holdData(
  now: ActiveThinVolume,
  status: ThinPoolStatus,
  about: Surroundings,
): Promise<HeldData> {
  const asItIs = { volume: now, isTemporary: false, release: () => Promise.resolve() };
  const { number } = now.active;
  if (await isReadOnly(number)) return { ...asItIs, identity: now.uuid, watch: null };
  // Looked at before our own open counts as one.
  const watch = await LiveWatch.begin(about.spawner, number);
  if (watch.wasOpen) return await snapshotData(now, status, about);
  const identity = now.lvm?.origin == null ? stoppedIdentity(null) : now.uuid;
  return { ...asItIs, identity, watch };
}

/** The mappings of a volume that is written go away under whoever reads it: they are read from a snapshot of it. */
async function snapshotData(
  now: ActiveThinVolume,
  { used, size }: ThinPoolStatus,
  about: Surroundings,
): Promise<HeldData> {
  if (now.lvm === null) {
    const problem =
      'it is in use, and LVM did not make it: make a snapshot of it, and name that as --data-source';
    throw new SnapshotError(now.name, problem);
  }
  if (size - used < size * LOW_ON_SPACE) {
    const left = `${size - used} of its ${size} bytes`;
    about.notice(
      `${now.lvm.poolName}: only ${left} are free, and what is overwritten during this run takes some`,
    );
  }
  const snapshot = await makeTemporarySnapshot(now.lvm, about);
  const release = () => snapshot.remove();
  try {
    about.detail(`${now.name}: in use; its bytes are read from ${snapshot.name}, a snapshot for this run`);
    const volume = await findThinVolume(about.spawner, snapshot.name);
    if (volume?.active == null)
      throw new SnapshotError(now.name, `its snapshot for this run, ${snapshot.name}, is gone`);
    // What goes wrong with it goes wrong for the volume, by whose name its user knows it.
    const held = { ...volume, name: now.name, active: volume.active };
    return { volume: held, identity: volume.uuid, isTemporary: true, watch: null, release };
  } catch (error) {
    // What went wrong first says more.
    await release().catch(() => undefined);
    throw error;
  }
}

/** What may make the target wrong although all goes well here. */
async function sayWhatIsDoubtful({ old, now }: ThinPair, about: Surroundings): Promise<void> {
  if (now.size < old.size) {
    const rest = `the target keeps what it has in its last ${old.size - now.size} bytes`;
    about.notice(`${now.name}: ${old.size - now.size} bytes smaller than ${old.name}: ${rest}`);
  }
  if (now.size > old.size) {
    const grown = `${now.size - old.size} bytes larger than ${old.name}`;
    about.notice(`${now.name}: ${grown}; all of that is sent, and the target needs ${now.size} bytes`);
  }
  if (old.active === null || (await isReadOnly(old.active.number))) return;
  const { openCount } = await new DeviceMapper(about.spawner).info(old.active.number);
  if (openCount === 0) return;
  const problem = 'in use and not read-only: if it was written since the target equalled it';
  about.notice(`${old.name}: ${problem}, the target may be wrong afterwards`);
}
