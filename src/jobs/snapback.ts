import { stat } from 'node:fs/promises';
import { writeArchive } from '../archive/new-archive.js';
import { COMPARED_UNIT, oldBlocks } from '../archive/old-blocks.js';
import { packBlocks, type ArchiveBlock, type Packing } from '../archive/pack-archive.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { CODECS_BY_SPEED } from '../codec/codec.js';
import { loadCodec } from '../codec/load-codec.js';
import { deviceNumberOf, isReadOnly } from '../device/device-facts.js';
import { DeviceError, SnapshotError } from '../errors.js';
import { makerOf, type Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { SNAPBACK_MEMORY } from '../memory/budgets.js';
import { openSource, type SourceSpec } from '../sources/open-source.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { packingOf, type CodecWish } from './combine.js';

export interface SnapbackOptions {
  /** Null for the fastest codec of this host. */
  readonly codec: CodecWish | null;
  /** The user guarantees that nothing wrote to the snapshot, nor to the data source since it was sent. */
  readonly forceWritable: boolean;
}

/** What was saved. Bytes and seconds. */
export interface SnapbackSummary {
  /** The size of what the change set lists. */
  readonly tableBytes: number;
  /** The size of the part that differs. */
  readonly savedBytes: number;
  readonly volumeSize: number;
  readonly base: string | null;
  readonly result: string | null;
  /** The size of the file. */
  readonly size: number;
  readonly seconds: number;
}

/**
 * Makes an undo at the sender: the old bytes of what changed since a snapshot, from the snapshot itself, so without
 * reading any target. Applied to a target in the data source's state, it takes the target back to the snapshot's state.
 *
 * Throws SnapshotError if nothing proves that the snapshot still holds the bytes from when it was made, or if the new
 * bytes are not from one moment; UsageError if the file exists; what opening and reading a source throws.
 */
export async function makeSnapback(
  spec: SourceSpec,
  out: string,
  options: SnapbackOptions,
  env: Surroundings,
): Promise<SnapbackSummary> {
  const started = env.clock();
  const source = await openSource(env, spec);
  try {
    const base = await checkFrozen(source, options.forceWritable);
    const changes = await source.watch.readChanges();
    const packing = options.codec === null ? await fastestPacking() : await packingOf(options.codec);
    const { lend } = new BufferPool(SNAPBACK_MEMORY);
    const header = await headerOf(source, changes, env);
    env.progress.start(changes.trackedBytes);
    const { size, result: savedBytes } = await writeArchive(out, header, async (writer) => {
      const blocks = oldBlocks(base, source.volumes.data, () => changes.trackedExtents(), lend);
      let saved = 0;
      for await (const block of packBlocks(watched(blocks, env), packing)) {
        await block.write(writer);
        saved += block.length;
      }
      await checkStill(source, changes);
      return saved;
    }).catch(async (error: unknown) => {
      // After a snapshot overflows, reading it fails: report the overflow, not the read error.
      if (error instanceof DeviceError && error.operation === 'read') await source.watch.checkValid();
      throw error;
    });
    const { base: from, result: to, volumeSize } = header;
    const seconds = (env.clock() - started) / 1000;
    return {
      tableBytes: changes.trackedBytes,
      savedBytes,
      volumeSize,
      base: from,
      result: to,
      size,
      seconds,
    };
  } finally {
    env.progress.stop();
    await source.watch.close();
  }
}

/**
 * The volume as it was. A write to the snapshot makes its old bytes differ from the target's. To mount it is enough,
 * even read-only, because the file system replays its journal.
 */
async function checkFrozen(source: ChangeSource, isForced: boolean): Promise<ReadableVolume> {
  const { facts, volumes } = source;
  if (volumes.base === null) {
    throw new SnapshotError(facts.name, 'inactive, so its old bytes cannot be read: activate it first');
  }
  if (isForced) return volumes.base;
  if (!facts.isBaseReadOnly) {
    const problem = 'it is writable, so its old bytes may differ from those of a target';
    throw new SnapshotError(
      facts.name,
      `${problem}; make snapshots read-only, or use --force=writable if nothing wrote to it`,
    );
  }
  if (!(await isDataFrozen(source))) {
    const where = facts.isDataTemporary === true ? facts.origin : volumes.data.path;
    const problem = `nothing proves that ${where}, which has the new bytes, does not change`;
    throw new SnapshotError(
      facts.name,
      `${problem}: use a later read-only snapshot (--data-source), or --force=writable if nothing writes to it`,
    );
  }
  return volumes.base;
}

/** A temporary snapshot of this run does not count: no target can ever be known to hold its state. */
async function isDataFrozen({ facts, volumes, watch }: ChangeSource): Promise<boolean> {
  if (facts.isDataTemporary === true) return false;
  if ((await watch.dataProof()) !== null) return true;
  const stats = await stat(volumes.data.path);
  return stats.isBlockDevice() && (await isReadOnly(deviceNumberOf(stats)));
}

/** After the last read: checks that the new bytes are from one moment, and that the changes are complete. */
async function checkStill({ facts, watch }: ChangeSource, changes: ChangeSet): Promise<void> {
  await watch.checkValid();
  const isStill =
    !facts.live ||
    ((await watch.readChanges()).since(changes).chunks.count === 0 && (await watch.isConsistent()));
  if (isStill) return;
  throw new SnapshotError(
    facts.name,
    `${facts.origin} was written to while it was read: use a later snapshot as --data-source`,
  );
}

async function headerOf(
  { facts, watch }: ChangeSource,
  changes: ChangeSet,
  env: Surroundings,
): Promise<StreamHeader> {
  // The time of an undo is the time at which its base came into being: states are found and kept by that time.
  const madeAt = (await watch.madeAt?.()) ?? null;
  return {
    kind: 'undo',
    volumeSize: facts.volumeSize,
    blockSize: Math.min(COMPARED_UNIT, changes.granularity),
    base: facts.isDataTemporary === true ? null : facts.result,
    result: facts.base,
    expectedBytes: changes.trackedBytes,
    names: { source: facts.name, origin: facts.origin },
    ...makerOf(env),
    ...(madeAt === null ? {} : { time: new Date(madeAt).toISOString() }),
  };
}

async function fastestPacking(): Promise<Packing> {
  for (const name of CODECS_BY_SPEED) {
    const codec = await loadCodec(name);
    if (codec !== null) return { codec, level: null };
  }
  return { codec: null, level: null };
}

async function* watched(
  blocks: AsyncIterable<ArchiveBlock>,
  { signal, progress }: Surroundings,
): AsyncGenerator<ArchiveBlock> {
  for await (const block of blocks) {
    if (signal.aborted) {
      if (block.kind === 'data') block.data.release();
      throw signal.reason;
    }
    progress.advance(block.length);
    yield block;
  }
}
