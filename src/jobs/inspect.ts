import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { COW_MAGIC } from '../changes/cow-format.js';
import { readExceptionStore, type StoreContents } from '../changes/exception-store.js';
import { openLocalDevice } from '../device/local-device.js';
import {
  DeviceError,
  FormatError,
  LvmsyncError,
  NoSnapshotError,
  SnapshotError,
  UsageError,
} from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import type { Surroundings } from '../host/surroundings.js';
import { findVolumePath } from '../lvm/volume-path.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { findThinVolume, type ThinVolume } from '../snapshots/thin-volume.js';
import { openExceptionSource } from '../sources/open-source.js';
import { readThinContents, type ThinContents } from '../sources/open-thin.js';
import { warnOfFilling } from '../sources/watch-filling.js';
import { eachItem } from '../stream/batches/batch.js';
import { asBlock } from '../stream/block.js';
import { openIncomingStream } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { sourceFrom } from '../transport/stream-channel.js';

/** What a user wants to look at. */
export type InspectSpec =
  | { readonly kind: 'named'; readonly name: string }
  | { readonly kind: 'files'; readonly cow: string; readonly origin: string | null };

/** What an exception store says, or why it cannot be trusted. */
export interface StoreReport {
  readonly type: 'dm-snapshot';
  readonly name: string;
  /** Null if the store is invalid; `problem` then says why. */
  readonly store: StoreContents | null;
  readonly problem: LvmsyncError | null;
}

/** What changed since a thin snapshot, or why that cannot be determined. */
export interface ThinReport {
  readonly type: 'dm-thin';
  readonly name: string;
  /** Null if it cannot be determined; `problem` then says why. */
  readonly contents: ThinContents | null;
  readonly problem: LvmsyncError | null;
}

/** What was looked at. */
export type InspectReport = StoreReport | ThinReport | StreamReport;

/** What a stream or snapback file holds, as far as it could be read. Sizes in bytes. */
export interface StreamReport {
  readonly type: 'stream';
  readonly name: string;
  readonly protocol: 3 | 4 | null;
  readonly header: StreamHeader | null;
  readonly blocks: number;
  readonly dataBytes: number;
  readonly zeroBytes: number;
  readonly discardBytes: number;
  /** Why it is not complete, or null. */
  readonly problem: LvmsyncError | null;
}

/**
 * Looks at a snapshot, a store in files, or a stream or snapback file. Writes nothing; for a thin pool, it holds the
 * metadata snapshot for a moment.
 */
export async function inspect(spec: InspectSpec, env: Surroundings): Promise<InspectReport> {
  const { spawner } = env;
  if (spec.kind === 'files') return await inspectStoreFiles(spawner, spec.cow, spec.origin);
  switch (await kindOfFile(spec.name)) {
    case 'stream':
      return await inspectStream(spec.name);
    case 'store':
      return await inspectStoreFiles(spawner, spec.name, null);
    case 'no file':
      return await inspectSnapshot(spec.name, env);
  }
}

async function inspectSnapshot(name: string, env: Surroundings): Promise<StoreReport | ThinReport> {
  const thin = await findThinVolume(env.spawner, name);
  if (thin !== null) return await inspectThin(thin, env);
  return await reportStore(name, async () => {
    const { watch } = await openExceptionSource(env.spawner, { kind: 'snapshot', name });
    try {
      await warnOfFilling(() => watch.readLevels(), env);
      return await watch.readStore();
    } finally {
      await watch.close();
    }
  });
}

async function inspectThin(thin: ThinVolume, env: Surroundings): Promise<ThinReport> {
  const { name } = thin;
  const { found: contents, problem } = await findOrExplain(() => readThinContents(thin, env));
  return { type: 'dm-thin', name, contents, problem };
}

async function inspectStoreFiles(spawner: Spawner, cow: string, origin: string | null): Promise<StoreReport> {
  const volume = origin === null ? null : await openLocalDevice(await findVolumePath(origin), { spawner });
  const size = volume?.size ?? null;
  await volume?.close();
  return await reportStore(cow, async () => {
    const device = await openLocalDevice(await findVolumePath(cow), { spawner });
    const sizes = { trackedSize: size, volumeSize: size };
    return await readExceptionStore(device, sizes).finally(() => device.close());
  });
}

async function reportStore(name: string, read: () => Promise<StoreContents>): Promise<StoreReport> {
  const { found: store, problem } = await findOrExplain(read);
  return { type: 'dm-snapshot', name, store, problem };
}

/** A snapshot that cannot be trusted is a finding; a snapshot that does not exist is a failure, and thrown. */
async function findOrExplain<T>(
  read: () => Promise<T>,
): Promise<{ readonly found: T | null; readonly problem: LvmsyncError | null }> {
  try {
    return { found: await read(), problem: null };
  } catch (error) {
    const isFinding = error instanceof SnapshotError || error instanceof FormatError;
    if (!isFinding || error instanceof NoSnapshotError) throw error;
    return { found: null, problem: error };
  }
}

async function inspectStream(name: string): Promise<StreamReport> {
  const file = createReadStream(name, { highWaterMark: 1024 * 1024 });
  const counts = { blocks: 0, dataBytes: 0, zeroBytes: 0, discardBytes: 0 };
  let protocol: 3 | 4 | null = null;
  let header: StreamHeader | null = null;
  let problem: LvmsyncError | null = null;
  try {
    const incoming = await openIncomingStream(
      sourceFrom(file, name),
      new BufferPool(4 * 1024 * 1024).lend,
      name,
    );
    ({ protocol, header } = incoming);
    for await (const item of eachItem(incoming.blocks)) {
      if (item.kind === 'resume') {
        throw new FormatError(
          name,
          0,
          'R frame',
          'it continues a session, and the beginning of the session is missing',
        );
      }
      if (item.kind === 'nameless' && header !== null) header = { ...header, result: null };
      const block = asBlock(item);
      if (block === null) continue;
      counts.blocks += 1;
      counts[`${block.kind}Bytes`] += block.length;
    }
  } catch (error) {
    if (!(error instanceof LvmsyncError)) throw error;
    problem = error;
  } finally {
    // A stream that was refused is not read to its end.
    file.destroy();
  }
  return { type: 'stream', name, protocol, header, ...counts, problem };
}

/** A regular file is recognized by its first bytes; anything else is the name of a snapshot. */
async function kindOfFile(name: string): Promise<'stream' | 'store' | 'no file'> {
  const stats = await stat(name).catch(() => null);
  if (stats?.isFile() !== true) return 'no file';
  const start = Buffer.alloc(8);
  try {
    const file = await open(name, 'r');
    await file.read(start, 0, start.length, 0).finally(() => file.close());
  } catch (error) {
    throw new DeviceError(name, 'read', 0, error);
  }
  if (start.toString('latin1') === 'lvmsync ') return 'stream';
  if (start.readUInt32LE(0) === COW_MAGIC) return 'store';
  throw new UsageError(
    `${name}: neither an lvmsync stream nor an exception store (--cow reads it as an exception store anyway)`,
  );
}
