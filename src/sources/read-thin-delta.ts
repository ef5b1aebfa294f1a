import { ChunkSet } from '../bytes/chunk-set.js';
import type { Extent } from '../bytes/extent.js';
import type { ChangeSet } from '../changes/change-set.js';
import { ThinChanges } from '../changes/thin-changes.js';
import { readThinDelta, type TakeThinRange, readThinDeltaFailure } from '../changes/thin-delta.js';
import { CommandError, SnapshotError } from '../errors.js';
import { readOutput } from '../host/read-output.js';
import type { Surroundings } from '../host/surroundings.js';
import { nodeOf } from '../lvm/device-node.js';
import { withMetadataSnapshot } from '../snapshots/metadata-snapshot.js';
import type { ThinPool } from '../snapshots/thin-pool.js';
import { findThinDelta, THIN_TOOLS, type ThinDelta } from '../snapshots/thin-tools.js';
import type { ThinVolume } from '../snapshots/thin-volume.js';
import type { ThinPair } from './thin-pair.js';

/** A device of a pool: its number there, and its name for messages. */
type PoolDevice = Pick<ThinVolume, 'name' | 'deviceId'>;

/** Two devices of a pool that thin_delta compares. */
interface Compared {
  readonly pool: ThinPool;
  readonly left: PoolDevice;
  readonly right: PoolDevice;
}

/**
 * Reads what changed between two thin devices, from the pool's metadata at this moment. Both devices must already
 * exist, so that the metadata snapshot has both.
 *
 * Throws LockedError; SnapshotError if the pool is not in order, its metadata damaged, or a device gone; CommandError
 * if thin_delta fails; FormatError.
 */
export async function readThinChanges(
  { old, now, pool }: ThinPair,
  tool: ThinDelta,
  env: Surroundings,
): Promise<ChangeSet> {
  const changes = new ThinChanges({
    chunkSize: pool.chunkSize,
    oldSize: old.size,
    newSize: now.size,
    hasExternalOrigin: now.externalOrigin !== null,
  });
  await runThinDelta(tool, { pool, left: old, right: now }, env, changes.take);
  return changes.finish();
}

/**
 * The ranges that a thin device maps, ascending, in bytes; the last may extend beyond the end of the device. Throws as
 * above, and as `findThinDelta`.
 */
export async function readMappedExtents(
  pool: ThinPool,
  deviceId: number,
  env: Surroundings,
): Promise<Extent[]> {
  const device = { name: `device ${deviceId} of ${pool.dmName}`, deviceId };
  const mapped: Extent[] = [];
  // Compared with itself, a device has everything that it maps in common.
  const itself = { pool, left: device, right: device };
  await runThinDelta(await findThinDelta(env), itself, env, (_, begin, length) => {
    mapped.push({ offset: begin * pool.chunkSize, length: length * pool.chunkSize });
  });
  return mapped;
}

/** The chunks of a volume of `size` bytes that a thin device does not map. Throws as above. */
export async function readUnmappedChunks(
  pool: ThinPool,
  device: PoolDevice,
  size: number,
  env: Surroundings,
): Promise<ChunkSet> {
  const unmapped = new ChunkSet();
  const chunks = Math.ceil(size / pool.chunkSize);
  let cursor = 0;
  const itself = { pool, left: device, right: device };
  await runThinDelta(await findThinDelta(env), itself, env, (_, begin, length) => {
    unmapped.addRange(cursor, Math.min(begin, chunks));
    cursor = begin + length;
  });
  unmapped.addRange(cursor, chunks);
  return unmapped;
}

async function runThinDelta(
  { version }: ThinDelta,
  compared: Compared,
  env: Surroundings,
  take: TakeThinRange,
): Promise<void> {
  const { pool, left, right } = compared;
  const program = `thin_delta ${version}`;
  const ids = ['--thin1', String(left.deviceId), '--thin2', String(right.deviceId)];
  // --metadata-snap without a value: thin_delta 1.1 accepts no value. We check before and after that the metadata
  // snapshot in the pool is ours.
  const argv = ['thin_delta', '--metadata-snap', ...ids, await nodeOf(pool.metadata)] as const;
  const expected = { left: left.deviceId, right: right.deviceId, chunkSize: pool.chunkSize };
  await withMetadataSnapshot(pool, `thin_delta of ${pool.dmName}`, env, async () => {
    const read = (output: AsyncIterable<Uint8Array>) => readThinDelta(output, expected, program, take);
    await readOutput(argv, THIN_TOOLS, env, read).catch((error: unknown) => {
      throw error instanceof CommandError ? explainFailure(error, program, compared) : error;
    });
  });
}

function explainFailure(error: CommandError, program: string, { pool, left, right }: Compared): Error {
  const { said, missing, isDamage } = readThinDeltaFailure(error.stderr);
  if (missing !== null) {
    const { name, deviceId } = missing === 'left' ? left : right;
    const problem = `not in the metadata of the thin pool ${pool.dmName} as device ${deviceId} (${program}: ${said})`;
    const wayOut =
      'it was removed during the run: check with "lvs", and run lvmsync again if it still exists';
    return new SnapshotError(name, `${problem}; ${wayOut}`, { cause: error });
  }
  if (isDamage) {
    const problem = `the metadata of the thin pool is damaged (${program}: ${said})`;
    return new SnapshotError(pool.dmName, `${problem}; see lvmthin(7) for how to repair it`, {
      cause: error,
    });
  }
  const { argv, status } = error;
  return status === null
    ? error
    : new CommandError(argv, `it failed (status ${status})`, { status, stderr: said, cause: error });
}
