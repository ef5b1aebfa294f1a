import { ThinChanges } from '../changes/thin-changes.js';
import { ChunkSet } from '../changes/chunk-set.js';
import type { ChangeSet } from '../changes/change-set.js';
import { readThinDelta, type TakeThinRange } from '../changes/thin-delta.js';
import type { Extent } from '../extent.js';
import { readOutput } from '../host/read-output.js';
import type { Surroundings } from '../host/surroundings.js';
import { nodeOf } from '../lvm/device-node.js';
import { withMetadataSnapshot } from '../lvm/metadata-snapshot.js';
import type { ThinPool } from '../lvm/thin-pool.js';
import type { ThinPair } from './thin-pair.js';

const COMES_WITH = 'thin-provisioning-tools (Debian) or device-mapper-persistent-data (Fedora)';

/**
 * Reads what changed between two thin devices, as the pool's metadata has it at this moment: both exist by now, so
 * the metadata snapshot that is taken for it knows both.
 *
 * Throws LockedError, SnapshotError, CommandError (where thin_delta is missing or fails), FormatError.
 */
export async function readThinChanges({ old, now, pool }: ThinPair, about: Surroundings): Promise<ChangeSet> {
  const changes = new ThinChanges({
    chunkSize: pool.chunkSize,
    oldSize: old.size,
    newSize: now.size,
    hasExternalOrigin: now.externalOrigin !== null,
  });
  await runThinDelta(pool, old.deviceId, now.deviceId, about, changes.take);
  return changes.finish();
}

/** The ranges that a thin device maps, ascending, in bytes; the last may lie past its end in part. Throws as above. */
export async function readMappedExtents(
  pool: ThinPool,
  deviceId: number,
  about: Surroundings,
): Promise<Extent[]> {
  const mapped: Extent[] = [];
  // With itself a device has everything in common that it maps.
  await runThinDelta(pool, deviceId, deviceId, about, (_, begin, length) => {
    mapped.push({ offset: begin * pool.chunkSize, length: length * pool.chunkSize });
  });
  return mapped;
}

/** The chunks of a volume of `size` bytes that a thin device does not map. Throws as above. */
export async function readUnmappedChunks(
  pool: ThinPool,
  deviceId: number,
  size: number,
  about: Surroundings,
): Promise<ChunkSet> {
  const unmapped = new ChunkSet();
  const chunks = Math.ceil(size / pool.chunkSize);
  let cursor = 0;
  await runThinDelta(pool, deviceId, deviceId, about, (_, begin, length) => {
    unmapped.addRange(cursor, Math.min(begin, chunks));
    cursor = begin + length;
  });
  unmapped.addRange(cursor, chunks);
  return unmapped;
}

async function runThinDelta(
  pool: ThinPool,
  left: number,
  right: number,
  about: Surroundings,
  take: TakeThinRange,
): Promise<void> {
  const metadata = await nodeOf(pool.metadata);
  // Without a value: 1.1 takes none. That ours is the one that is held is seen to before and after.
  const words = ['--metadata-snap', '--thin1', String(left), '--thin2', String(right), metadata];
  await withMetadataSnapshot(pool, `thin_delta of ${pool.dmName}`, about, async () => {
    const argv = ['thin_delta', ...words] as const;
    const expected = { left, right, chunkSize: pool.chunkSize };
    const read = (output: AsyncIterable<Uint8Array>) => readThinDelta(output, expected, 'thin_delta', take);
    await readOutput(argv, COMES_WITH, about, read);
  });
}
