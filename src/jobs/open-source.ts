import type { ChangeSource, FillingSource } from '../changes/change-source.js';
import { BaseView } from '../changes/base-view.js';
import { checkExceptionStore, readExceptionStore, type StoreContents } from '../changes/exception-store.js';
import { readStoreLevel, type FillLevel } from '../lvm/fill-level.js';
import { LiveWatch } from '../lvm/live-watch.js';
import { findDeviceNumber, nodeOf } from '../lvm/device-node.js';
import { checkSnapshotStatus, findSnapshot, type DmSnapshot } from '../lvm/snapshot.js';
import { findThinVolume } from '../lvm/thin-volume.js';
import { isReadOnly, type DeviceNumber } from '../device/device-facts.js';
import { openLocalDevice, type LocalDevice } from '../device/local-device.js';
import { stoppedIdentity } from '../target/state-record.js';
import { stillnessOf } from '../target/write-stamp.js';
import { FillingWatch } from './watch-filling.js';
import { openThinSource } from './open-thin.js';
import { SnapshotError, UsageError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import type { Surroundings } from '../host/surroundings.js';

/** Which changes a user wants, in the user's words. */
export type SourceSpec =
  | { readonly kind: 'snapshot'; readonly name: string; readonly dataSource?: string }
  | { readonly kind: 'files'; readonly cow: string; readonly origin: string; readonly dataSource?: string };

/** A dm-snapshot's exception store as a change source. */
export interface ExceptionSource extends FillingSource<FillLevel> {
  readStore(most?: number): Promise<StoreContents>;
}

/** Opens what a user named. Throws SnapshotError, UsageError, LockedError, DeviceError, CommandError. */
export async function openSource(about: Surroundings, spec: SourceSpec): Promise<ChangeSource> {
  const thin = spec.kind === 'snapshot' ? await findThinVolume(about.spawner, spec.name) : null;
  const source =
    thin === null
      ? await openExceptionSource(about.spawner, spec)
      : await openThinSource(thin, spec.kind === 'snapshot' ? spec.dataSource : undefined, about);
  const watch = await FillingWatch.begin(() => source.readLevels(), about);
  return { ...source, close: () => watch.stop().finally(() => source.close()) };
}

/** Opens a classic snapshot, or a store in files. Throws as `openSource`. */
export function openExceptionSource(spawner: Spawner, spec: SourceSpec): Promise<ExceptionSource> {
  return spec.kind === 'snapshot' ? openSnapshotSource(spawner, spec) : openFileSource(spawner, spec);
}

async function openSnapshotSource(
  spawner: Spawner,
  spec: Extract<SourceSpec, { kind: 'snapshot' }>,
): Promise<ExceptionSource> {
  const snapshot = await findSnapshot(spawner, spec.name);
  await checkSnapshotStatus(spawner, snapshot);
  const dataSource = await findDataSource(spawner, snapshot, spec.dataSource);
  // Looked at before our own open counts as one.
  const watch = await LiveWatch.begin(spawner, dataSource.number);
  const stamp = watch.wasOpen ? null : await stillnessOf(dataSource.number);
  const isLive = dataSource.snapshot === null;
  const [cow, data, base] = await openAll(spawner, [
    await nodeOf(snapshot.cow),
    dataSource.path,
    await nodeOf(snapshot.number),
  ]);
  const tracked = [snapshot, ...(dataSource.snapshot === null ? [] : [dataSource.snapshot])];
  const checkValid = async () => {
    await checkSnapshotStatus(spawner, snapshot);
    if (dataSource.snapshot !== null) await checkSnapshotStatus(spawner, dataSource.snapshot);
  };
  return exceptionSource({
    name: spec.name,
    origin: snapshot.originName,
    base: snapshot.uuid,
    result: dataSource.snapshot?.uuid ?? (watch.wasOpen ? null : stoppedIdentity(stamp)),
    trackedSize: snapshot.size,
    cow,
    data,
    baseVolume: base,
    unchangedVolume: null,
    isBaseReadOnly: await isReadOnly(snapshot.number),
    paths: [base.path, cow.path, data.path, await nodeOf(snapshot.origin)],
    opened: [cow, data, base],
    live: isLive,
    checkValid,
    readLevels: async () => {
      const levels = await Promise.all(tracked.map((each) => readStoreLevel(spawner, each)));
      return levels.filter((level) => level !== null);
    },
    isConsistent: async () => !isLive || (await watch.sawNoWriter()),
    dataProof: async () => {
      const { snapshot, number } = dataSource;
      if (snapshot?.uuid != null && (await isReadOnly(number))) return `read-only ${snapshot.uuid}`;
      return (await watch.sawNoWriter()) ? stamp : null;
    },
  });
}

async function openFileSource(
  spawner: Spawner,
  spec: Extract<SourceSpec, { kind: 'files' }>,
): Promise<ExceptionSource> {
  const [cow, data, origin] = await openAll(spawner, [spec.cow, spec.dataSource ?? spec.origin, spec.origin]);
  return exceptionSource({
    name: spec.cow,
    origin: spec.origin,
    base: null,
    result: stoppedIdentity(null),
    trackedSize: data.size,
    cow,
    data,
    baseVolume: new BaseView(cow, origin),
    unchangedVolume: null,
    // Nobody knows what the snapshot went through before its store became a file.
    isBaseReadOnly: false,
    paths: [cow.path, data.path, origin.path],
    opened: [cow, data, origin],
    live: false,
    checkValid: () => checkExceptionStore(cow),
    readLevels: () => Promise.resolve([]),
    isConsistent: () => Promise.resolve(true),
    dataProof: () => Promise.resolve(null),
  });
}

interface SourceParts extends Omit<
  ExceptionSource,
  'volumeSize' | 'readChanges' | 'readStore' | 'close' | 'data'
> {
  readonly trackedSize: number;
  readonly cow: LocalDevice;
  readonly data: LocalDevice;
  readonly opened: readonly LocalDevice[];
}

async function exceptionSource({
  trackedSize,
  cow,
  opened,
  ...parts
}: SourceParts): Promise<ExceptionSource> {
  const volumeSize = parts.data.size;
  if (volumeSize < trackedSize) {
    const problem = `the data source ${parts.data.path} has ${volumeSize} bytes, the snapshot's volume ${trackedSize}`;
    await closeAll(opened);
    throw new SnapshotError(parts.name, problem);
  }
  const readStore = async (most?: number) => {
    try {
      return await readExceptionStore(cow, { trackedSize, volumeSize }, most);
    } finally {
      // Last: a table that was read while the store overflowed lacks changes. And where reading it failed, this
      // may say why in the user's own name for the snapshot.
      await parts.checkValid();
    }
  };
  return {
    ...parts,
    volumeSize,
    readStore,
    readChanges: async (most) => {
      await parts.data.refresh();
      return (await readStore(most)).changes;
    },
    close: () => closeAll(opened),
  };
}

/** Where new bytes are read, and what is known of it. */
interface DataSource {
  readonly path: string;
  /** The second snapshot, where it is one. */
  readonly snapshot: DmSnapshot | null;
  readonly number: DeviceNumber;
}

async function findDataSource(
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
    if (error instanceof SnapshotError) return null;
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

/** Opens all of them for reading, or none. */
async function openAll<Paths extends readonly string[]>(spawner: Spawner, paths: readonly [...Paths]) {
  const opened: LocalDevice[] = [];
  try {
    for (const path of paths) opened.push(await openLocalDevice(path, { spawner }));
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
  return opened as { [Index in keyof Paths]: LocalDevice };
}

async function closeAll(devices: readonly LocalDevice[]): Promise<void> {
  await Promise.all(devices.map((device) => device.close()));
}
