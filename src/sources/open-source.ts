import { isDeepStrictEqual } from 'node:util';
import { formatBoth } from '../bytes/amounts.js';
import { BaseView } from '../changes/base-view.js';
import type { ChangeSource, SourceFacts, SourceVolumes } from '../changes/change-source.js';
import { checkExceptionStore, readExceptionStore, type StoreContents } from '../changes/exception-store.js';
import { TwoStores } from '../changes/two-stores.js';
import { isReadOnly } from '../device/device-facts.js';
import { openLocalDevice, type LocalDevice } from '../device/local-device.js';
import { SnapshotError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import type { Surroundings } from '../host/surroundings.js';
import { nodeOf } from '../lvm/device-node.js';
import { findVolumePath } from '../lvm/volume-path.js';
import { readStoreLevel } from '../snapshots/fill-level.js';
import { readBirth, checkSnapshotStatus, findSnapshot } from '../snapshots/snapshot.js';
import { findThinVolume } from '../snapshots/thin-volume.js';
import { fileStampOf, stoppedIdentity, writeStampOf } from '../usage/write-stamp.js';
import { findDataSource, refuseOlder } from './data-source.js';
import { openThinSource } from './open-thin.js';
import { FillingWatch, type FillingSource } from './watch-filling.js';
import { watchMapped } from './watch-mapped.js';

/** The changes that a user wants, as the user named them. */
export type SourceSpec =
  | {
      readonly kind: 'snapshot';
      readonly name: string;
      readonly dataSource?: string;
      /** Whether the user declares that no process writes to the volume with the new data. */
      readonly quiesced?: true;
    }
  | { readonly kind: 'files'; readonly cow: string; readonly origin: string; readonly dataSource?: string };

/** A dm-snapshot's exception store as a change source. */
export interface ExceptionSource extends FillingSource {
  readonly watch: FillingSource['watch'] & { readStore(): Promise<StoreContents> };
}

/** Opens the source that a user named. Throws SnapshotError, UsageError, LockedError, DeviceError, CommandError. */
export async function openSource(env: Surroundings, spec: SourceSpec): Promise<ChangeSource> {
  const thin = spec.kind === 'snapshot' ? await findThinVolume(env.spawner, spec.name) : null;
  const source =
    thin === null
      ? await openExceptionSource(env.spawner, spec)
      : await openThinSource(thin, spec.kind === 'snapshot' ? spec.dataSource : undefined, env);
  const { facts, volumes, watch } = source;
  const filling = await FillingWatch.begin(() => watch.readLevels(), env);
  return { facts, volumes, watch: { ...watch, close: () => filling.stop().finally(() => watch.close()) } };
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
  const later = dataSource.snapshot;
  // The watch must begin before we open the device ourselves: our own open would count.
  const mapped = await watchMapped(spawner, dataSource.number, later, spec.quiesced === true);
  const opened = await openAll(spawner, [
    await nodeOf(snapshot.cow),
    dataSource.path,
    await nodeOf(snapshot.number),
    ...(later === null ? [] : [await nodeOf(later.cow)]),
  ]);
  const [cow, data, base, laterCow] = opened;
  const tracked = [snapshot, ...(later === null ? [] : [later])];
  return exceptionSource({
    facts: {
      name: spec.name,
      origin: snapshot.originName,
      base: snapshot.uuid,
      result: mapped.identity,
      volumeSize: data.size,
      isBaseReadOnly: await isReadOnly(snapshot.number),
      paths: [...opened.map(({ path }) => path), await nodeOf(snapshot.origin)],
      live: later === null,
    },
    volumes: { data, base, unchanged: null },
    watch: {
      ...mapped.watch,
      checkValid: async () => {
        for (const each of tracked) await checkSnapshotStatus(spawner, each);
      },
      readLevels: async () => {
        const levels = await Promise.all(tracked.map((each) => readStoreLevel(spawner, each)));
        return levels.filter((level) => level !== null);
      },
      ...(later === null ? {} : { madeAt: () => readBirth(spawner, later) }),
    },
    trackedSize: snapshot.size,
    cow,
    later:
      later === null || laterCow === undefined
        ? null
        : { cow: laterCow, size: later.size, judgeMore: () => refuseOlder(spawner, snapshot, later) },
    opened,
  });
}

async function openFileSource(
  spawner: Spawner,
  spec: Extract<SourceSpec, { kind: 'files' }>,
): Promise<ExceptionSource> {
  const [cow, data, origin] = await openAll(spawner, [
    await findVolumePath(spec.cow),
    await findVolumePath(spec.dataSource ?? spec.origin),
    await findVolumePath(spec.origin),
  ]);
  const stamps = () => Promise.all([cow, data, origin].map(stampOf));
  const atFirst = await stamps();
  return exceptionSource({
    facts: {
      name: spec.cow,
      origin: spec.origin,
      base: null,
      result: stoppedIdentity(null),
      volumeSize: data.size,
      // Nothing tells what was written to the snapshot before its store became a file.
      isBaseReadOnly: false,
      paths: [cow.path, data.path, origin.path],
      live: false,
    },
    volumes: { data, base: new BaseView(cow, origin), unchanged: null },
    watch: {
      checkValid: () => checkExceptionStore(cow),
      readLevels: () => Promise.resolve([]),
      isConsistent: async () => isDeepStrictEqual(await stamps(), atFirst),
      dataProof: () => Promise.resolve(null),
    },
    trackedSize: data.size,
    cow,
    later: null,
    opened: [cow, data, origin],
  });
}

/** Changes whenever someone writes to what is read. */
function stampOf({ number, path }: LocalDevice): Promise<string> {
  return number === null ? fileStampOf(path) : writeStampOf(number);
}

/** What an exception source is made of; it reads the stores itself. */
interface SourceParts {
  readonly facts: SourceFacts;
  readonly volumes: SourceVolumes;
  readonly watch: Omit<ExceptionSource['watch'], 'readChanges' | 'readStore' | 'tableOf' | 'close'>;
  readonly trackedSize: number;
  readonly cow: LocalDevice;
  /** If the data is that of a second snapshot: its store, its size in bytes, and the check for `TwoStores`. */
  readonly later: {
    readonly cow: LocalDevice;
    readonly size: number;
    readonly judgeMore: () => Promise<void>;
  } | null;
  /** All that must be closed. */
  readonly opened: readonly LocalDevice[];
}

async function exceptionSource({
  facts,
  volumes,
  watch,
  trackedSize,
  cow,
  later,
  opened,
}: SourceParts): Promise<ExceptionSource> {
  const { name, base, volumeSize } = facts;
  const { data } = volumes;
  if (volumeSize < trackedSize) {
    const [has, needs] = formatBoth(volumeSize, trackedSize);
    const problem =
      `the data source ${data.path} is too small: it has ${has}, and the snapshot's volume has ${needs}: ` +
      'give a later snapshot of the same volume';
    await closeAll(opened);
    throw new SnapshotError(name, problem);
  }
  // The check comes last: a table that was read while the store overflowed lacks changes. And if reading failed, the
  // check may say why, with the name that the user gave for the snapshot.
  const read = (store: LocalDevice, size: number, most?: number) =>
    readExceptionStore(store, { trackedSize: size, volumeSize }, most).finally(() => watch.checkValid());
  const readFirst = async (most?: number) => (await read(cow, trackedSize, most)).changes;
  const two =
    later === null
      ? null
      : new TwoStores(readFirst, async () => (await read(later.cow, later.size)).changes, later.judgeMore);
  return {
    facts,
    volumes,
    watch: {
      ...watch,
      readStore: () => read(cow, trackedSize),
      tableOf: ({ chunks }) =>
        base === null || (two?.namesMore ?? false) ? null : { id: base, entries: chunks.count },
      readChanges: async (most) => {
        await data.refresh();
        return await (two?.readChanges(most) ?? readFirst(most));
      },
      close: () => closeAll(opened),
    },
  };
}

/** Opens all of them for reading; if one fails, closes the others. */
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
