import type { ChangeSet } from '../changes/change-set.js';
import { isReadOnly, type DeviceNumber } from '../device/device-facts.js';
import { openLocalDevice, type LocalDevice } from '../device/local-device.js';
import { SnapshotError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { nodeOf } from '../lvm/device-node.js';
import { readPoolLevels } from '../snapshots/fill-level.js';
import { LiveWatch } from '../snapshots/live-watch.js';
import { readBirth } from '../snapshots/snapshot.js';
import { makeTemporarySnapshot, removeLeftOvers } from '../snapshots/temporary-snapshot.js';
import { readPoolStatus, type ThinPoolStatus } from '../snapshots/thin-pool.js';
import { findThinDelta } from '../snapshots/thin-tools.js';
import { findThinVolume, type ThinVolume } from '../snapshots/thin-volume.js';
import { stoppedIdentity } from '../usage/write-stamp.js';
import { readThinChanges } from './read-thin-delta.js';
import { findThinPair, type ActiveThinVolume, type ThinPair } from './thin-pair.js';
import { warnOfFilling, type FillingSource } from './watch-filling.js';

/** The free share of a pool below which a temporary snapshot gets a warning: it keeps what is overwritten meanwhile. */
const LOW_ON_SPACE = 0.1;

/** What changed between a thin snapshot and its origin, or another device of its pool. Sizes in bytes. */
export interface ThinContents {
  readonly chunkSize: number;
  readonly changes: ChangeSet;
  readonly poolSize: number;
  readonly poolUsed: number;
  readonly poolMetadataSize: number;
  readonly poolMetadataUsed: number;
}

/** Reads what changed since a thin snapshot, without its data. Throws as `openThinSource`. */
export async function readThinContents(old: ThinVolume, env: Surroundings): Promise<ThinContents> {
  const pair = await findThinPair(env.spawner, old, undefined);
  const { used, size, metadata } = await readPoolStatus(env.spawner, pair.pool);
  const { chunkSize } = pair.pool;
  const thinDelta = await findThinDelta(env);
  await warnOfFilling(() => readPoolLevels(env.spawner, pair.pool), env);
  return {
    ...{ chunkSize, changes: await readThinChanges(pair, thinDelta, env), poolSize: size, poolUsed: used },
    ...{ poolMetadataSize: metadata.size, poolMetadataUsed: metadata.used },
  };
}

/**
 * Opens the changes from a thin snapshot to its origin, or to `dataSource`, another device of the pool. If that device
 * is in use, the data is read from a temporary snapshot of it, which `close` removes.
 *
 * Throws NoSnapshotError, SnapshotError, UsageError as `findThinPair`; SnapshotError also if the pool is not in order;
 * CommandError, DeviceError.
 */
export async function openThinSource(
  old: ThinVolume,
  dataSource: string | undefined,
  env: Surroundings,
): Promise<FillingSource> {
  const pair = await findThinPair(env.spawner, old, dataSource);
  const status = await readPoolStatus(env.spawner, pair.pool);
  // Check for thin_delta first: without it, a temporary snapshot would be useless.
  const thinDelta = await findThinDelta(env);
  await sayWhatIsDoubtful(pair, env);
  if (pair.now.lvm !== null) await removeLeftOvers(pair.now.lvm.group, env);
  const data = await holdData(pair.now, status, env);
  const opened: LocalDevice[] = [];
  const close = async () => {
    await Promise.all(opened.map((device) => device.close()));
    await data.release();
  };
  const open = async (number: DeviceNumber) => {
    const device = await openLocalDevice(await nodeOf(number), { spawner: env.spawner });
    opened.push(device);
    return device;
  };
  try {
    const base = old.active === null ? null : await open(old.active.number);
    const device = await open(data.volume.active.number);
    return {
      facts: {
        name: old.name,
        origin: pair.now.lvm?.fullName ?? pair.now.name,
        base: old.uuid,
        result: data.identity,
        volumeSize: device.size,
        isDataTemporary: data.isTemporary,
        isBaseReadOnly: old.active !== null && (await isReadOnly(old.active.number)),
        // Neither device maps such chunks, so thin_delta does not list them.
        forgetsDiscarded: true,
        paths: [...opened.map(({ path }) => path), await nodeOf(pair.now.active.number)],
        live: false,
      },
      // What is the same in both can be read from either.
      volumes: { data: device, base, unchanged: device },
      watch: {
        readChanges: () => readThinChanges({ ...pair, now: data.volume }, thinDelta, env),
        checkValid: async () => {
          await readPoolStatus(env.spawner, pair.pool);
        },
        readLevels: () => readPoolLevels(env.spawner, pair.pool),
        isConsistent: async () => data.watch === null || (await data.watch.sawNoWriter()),
        // Only a snapshot is still in the state in which it was made.
        ...(data.identity === data.volume.uuid ? { madeAt: () => readBirth(env.spawner, data.volume) } : {}),
        // A thin volume can be activated, written and deactivated again without leaving a trace.
        dataProof: () => Promise.resolve(null),
        close,
      },
    };
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
}

/** The volume that the new bytes are read from, and what is known about it. */
export interface HeldData {
  readonly volume: ActiveThinVolume;
  readonly identity: string | null;
  /** Whether it is a temporary snapshot, which `release` removes. */
  readonly isTemporary: boolean;
  /** Watches a device that others could write to; null if no one can. */
  readonly watch: LiveWatch | null;
  release(): Promise<void>;
}

/** Makes sure that a thin volume, or a snapshot of it, does not change while it is read. Throws as `openThinSource`. */
export async function holdData(
  now: ActiveThinVolume,
  status: ThinPoolStatus,
  env: Surroundings,
): Promise<HeldData> {
  const asItIs = { volume: now, isTemporary: false, release: () => Promise.resolve() };
  const { number } = now.active;
  if (await isReadOnly(number)) return { ...asItIs, identity: now.uuid, watch: null };
  // The watch must begin before we open the device ourselves: our own open would count.
  const watch = await LiveWatch.begin(env.spawner, number);
  if (watch.wasOpen) return await snapshotData(now, status, env);
  const identity = now.lvm?.origin == null ? stoppedIdentity(null) : now.uuid;
  return { ...asItIs, identity, watch };
}

/** The mappings of a volume change under its reader while it is written, so its data is read from a snapshot of it. */
async function snapshotData(
  now: ActiveThinVolume,
  { used, size }: ThinPoolStatus,
  env: Surroundings,
): Promise<HeldData> {
  if (now.lvm === null) {
    const problem =
      'it is in use, and LVM does not manage it: make a snapshot of it, and use that as --data-source';
    throw new SnapshotError(now.name, problem);
  }
  if (size - used < size * LOW_ON_SPACE) {
    const left = `${size - used} of its ${size} bytes`;
    env.notice(
      `${now.lvm.poolName}: only ${left} are free, and everything that is overwritten during this run needs space`,
    );
  }
  const snapshot = await makeTemporarySnapshot(now.lvm, env);
  const release = () => snapshot.remove();
  try {
    env.detail(`${now.name}: in use; reading its bytes from ${snapshot.name}, a temporary snapshot`);
    const volume = await findThinVolume(env.spawner, snapshot.name);
    if (volume?.active == null)
      throw new SnapshotError(now.name, `its temporary snapshot ${snapshot.name} is gone`);
    // Errors must name the volume, which the user knows, not the temporary snapshot.
    const held = { ...volume, name: now.name, active: volume.active };
    return { volume: held, identity: volume.uuid, isTemporary: true, watch: null, release };
  } catch (error) {
    // The first error says more.
    await release().catch(() => undefined);
    throw error;
  }
}

/** Tells the user about anything that may make the target wrong although this run succeeds. */
async function sayWhatIsDoubtful({ old, now }: ThinPair, env: Surroundings): Promise<void> {
  if (now.size < old.size) {
    const rest = `the last ${old.size - now.size} bytes of the target stay as they are`;
    env.notice(`${now.name}: ${old.size - now.size} bytes smaller than ${old.name}: ${rest}`);
  }
  if (now.size > old.size) {
    const grown = `${now.size - old.size} bytes larger than ${old.name}`;
    env.notice(`${now.name}: ${grown}; all of them are sent, and the target must have ${now.size} bytes`);
  }
  if (old.active === null || (await isReadOnly(old.active.number))) return;
  const { openCount } = await new DeviceMapper(env.spawner).info(old.active.number);
  if (openCount === 0) return;
  const problem = 'in use and not read-only: if something wrote to it since the target equalled it';
  env.notice(`${old.name}: ${problem}, the target may be wrong afterwards`);
}
