import { randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource, ReadWatch, SourceFacts } from '../changes/change-source.js';
import type { BlockDevice } from '../device/block-device.js';
import { deviceNumberOf, readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import type { LocalDevice } from '../device/local-device.js';
import { DeviceError, NoSnapshotError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { nodeOf } from '../lvm/device-node.js';
import { findSourcePath } from '../lvm/volume-path.js';
import { readPoolLevels, readStoreLevel } from '../snapshots/fill-level.js';
import { checkSnapshotStatus, findSnapshot, type DmSnapshot } from '../snapshots/snapshot.js';
import { removeLeftOvers } from '../snapshots/temporary-snapshot.js';
import { findThinPool, readPoolStatus, type ThinPool } from '../snapshots/thin-pool.js';
import { findThinVolume, type ThinVolume } from '../snapshots/thin-volume.js';
import { findLoop, findMount } from '../usage/holders.js';
import { findOpener } from '../usage/openers.js';
import { stoppedIdentity, writeStampOf } from '../usage/write-stamp.js';
import { holdData } from './open-thin.js';
import type { ActiveThinVolume } from './thin-pair.js';
import { openVolumePart } from './volume-part.js';
import { FillingWatch, type ReadLevels } from './watch-filling.js';
import { watchMapped } from './watch-mapped.js';

/** A volume or image file of this host that is read, whatever changed in it. */
export interface NamedVolume {
  /** As its user named it. */
  readonly name: string;
  readonly device: BlockDevice;
  /** The devices and files of this host that it is read from. */
  readonly paths: readonly string[];
  readonly watch: ReadWatch;
}

/** A volume or image file that is read completely. */
export interface WholeVolume extends NamedVolume {
  readonly device: LocalDevice;
  /** The identity of the state that is read; null if it has no identity, because another process has it open. */
  readonly identity: string | null;
  /** The pool and the device's number in it, if they tell which chunks of the volume are mapped; else null. */
  readonly thin: { readonly pool: ThinPool; readonly deviceId: number } | null;
}

/**
 * Opens what a user named to read all of it: a snapshot (classic or thin), a volume, a partition or disk, an image
 * file. If a thin volume is in use, a temporary snapshot of it is read, which `close` removes. Anything else in use is
 * read as it is, and a notice says so.
 *
 * Throws SnapshotError if a snapshot is invalid or inactive; DeviceError, CommandError, LockedError.
 *
 * @param isQuiesced whether the user declares that no process writes to it; that does not give the state a name
 */
export async function openWhole(name: string, env: Surroundings, isQuiesced = false): Promise<WholeVolume> {
  const path = await findSourcePath(env.spawner, name);
  const stats = await stat(path).catch((error: unknown) => {
    throw new DeviceError(path, 'stat', null, error);
  });
  const found = stats.isBlockDevice()
    ? await findDevice({ name, path, isQuiesced }, deviceNumberOf(stats), env)
    : await findFile({ name, path, isQuiesced }, stats, env);
  if (found.identity === null && !isQuiesced) {
    const problem =
      'in use: if something writes to it, the target will not be a consistent point-in-time copy';
    env.notice(`${name}: ${problem}; use a snapshot of it instead`);
  }
  const { readFrom, identity, thin, readLevels, release = () => Promise.resolve() } = found;
  const filling = await FillingWatch.begin(readLevels ?? (() => Promise.resolve([])), env);
  try {
    const device = await openVolumePart(path, readFrom, env);
    const close = () =>
      filling
        .stop()
        .then(() => device.close())
        .finally(release);
    const paths = [...new Set([path, device.path])];
    return { name, device, paths, identity, thin, watch: { ...found.watch, close } };
  } catch (error) {
    await filling.stop();
    await release();
    throw error;
  }
}

/** A volume as a change source: these changes are sent; they have no base. Its close leaves the volume open. */
export function sourceOfVolume(
  { name, device, paths, watch }: NamedVolume,
  goal: Pick<SourceFacts, 'scope' | 'result'>,
  changes: ChangeSet,
): ChangeSource {
  // What the comparison found to be equal must still be equal when the first block comes.
  const isProvable = goal.scope === 'compared' && goal.result !== null;
  return {
    facts: {
      ...{ name, origin: name, base: null, ...goal, volumeSize: device.size, paths },
      ...{ isBaseReadOnly: false, live: false },
    },
    volumes: { data: device, base: null, unchanged: isProvable ? device : null },
    // Not `...watch`: that of a snapshot also has the table of its own changes, which are not these.
    watch: {
      readChanges: () => Promise.resolve(changes),
      checkValid: () => watch.checkValid(),
      isConsistent: () => watch.isConsistent(),
      dataProof: () => watch.dataProof(),
      close: () => Promise.resolve(),
    },
  };
}

/** A volume to open. */
interface Wanted {
  readonly name: string;
  readonly path: string;
  readonly isQuiesced: boolean;
}

/** What is known of a volume before it is opened. */
interface Found extends Pick<WholeVolume, 'identity' | 'thin'> {
  readonly readFrom: string;
  readonly watch: Omit<ReadWatch, 'close'>;
  /** Reads how full everything is that could fill up during the run. */
  readonly readLevels?: ReadLevels;
  /** Must be called when nothing of the volume is open any more. */
  readonly release?: () => Promise<void>;
}

async function findDevice(wanted: Wanted, number: DeviceNumber, env: Surroundings): Promise<Found> {
  const { name, path } = wanted;
  const { kernelName } = await readDeviceFacts(number);
  if (!kernelName.startsWith('dm-')) return await findPlainDevice(wanted, number);
  const thin = await findThinVolume(env.spawner, path);
  if (thin?.active != null) return await findThin({ ...thin, name, active: thin.active }, env);
  const snapshot = await findSnapshot(env.spawner, path).catch((error: unknown) => {
    if (error instanceof NoSnapshotError) return null;
    throw error;
  });
  return await findMapped(wanted, number, snapshot === null ? null : { ...snapshot, name }, env);
}

/** A device-mapper volume: the kernel counts its openers. `snapshot` is null if it is not a snapshot. */
async function findMapped(
  { path, isQuiesced }: Wanted,
  number: DeviceNumber,
  snapshot: DmSnapshot | null,
  env: Surroundings,
): Promise<Found> {
  const checkValid = async () => {
    if (snapshot !== null) await checkSnapshotStatus(env.spawner, snapshot);
  };
  await checkValid();
  const { identity, watch } = await watchMapped(env.spawner, number, snapshot, isQuiesced);
  return {
    readFrom: path,
    identity,
    thin: null,
    readLevels: async () => {
      const level = snapshot === null ? null : await readStoreLevel(env.spawner, snapshot);
      return level === null ? [] : [level];
    },
    watch: { ...watch, checkValid },
  };
}

async function findThin(volume: ThinVolume & ActiveThinVolume, env: Surroundings): Promise<Found> {
  const { spawner } = env;
  const pool = await findThinPool(spawner, volume.active.pool);
  const status = await readPoolStatus(spawner, pool);
  if (volume.lvm !== null) await removeLeftOvers(volume.lvm.group, env);
  const held = await holdData(volume, status, env);
  const { volume: now, identity, watch: live } = held;
  // While this run has it open, it cannot be deactivated, written on another host and activated again.
  const ofThisRun = `open ${now.uuid ?? ''} ${randomUUID()}`;
  const isConsistent = async () => live === null || (await live.sawNoWriter());
  return {
    readFrom: await nodeOf(now.active.number),
    identity,
    thin: now.externalOrigin === null ? { pool, deviceId: now.deviceId } : null,
    readLevels: () => readPoolLevels(spawner, pool),
    watch: {
      checkValid: async () => {
        await readPoolStatus(spawner, pool);
      },
      isConsistent,
      dataProof: async () => ((await isConsistent()) ? ofThisRun : null),
    },
    release: () => held.release(),
  };
}

/** A disk or partition: /proc shows which processes have it mounted or open, as far as we may read it. */
async function findPlainDevice(wanted: Wanted, number: DeviceNumber): Promise<Found> {
  const isOpen = async () =>
    (await findMount(number)) !== null || findOpener(number, 'writers', wanted.path) !== null;
  return await watchStamp(wanted, isOpen, () => writeStampOf(number));
}

async function findFile(wanted: Wanted, { dev, ino }: Stats, env: Surroundings): Promise<Found> {
  const { path } = wanted;
  const isOpen = async () =>
    findOpener({ dev, ino }, 'writers', path) !== null ||
    (await findLoop(env.spawner, { dev, ino })) !== null;
  return await watchStamp(wanted, isOpen, async () => {
    const now = await stat(path, { bigint: true }).catch((error: unknown) => {
      throw new DeviceError(path, 'stat', null, error);
    });
    return `file ${now.dev} ${now.ino} ${now.size} ${now.mtimeNs} ${now.ctimeNs}`;
  });
}

async function watchStamp(
  { path, isQuiesced }: Wanted,
  isOpen: () => Promise<boolean>,
  readStamp: () => Promise<string>,
): Promise<Found> {
  const stamp = await readStamp();
  const wasOpen = await isOpen();
  const isStill = async () => (await readStamp()) === stamp;
  const isAlone = async () => !wasOpen && !(await isOpen()) && (await isStill());
  return {
    readFrom: path,
    identity: wasOpen ? null : stoppedIdentity(stamp),
    thin: null,
    watch: {
      checkValid: () => Promise.resolve(),
      isConsistent: isQuiesced ? isStill : isAlone,
      dataProof: async () => ((await isAlone()) ? stamp : null),
    },
  };
}
