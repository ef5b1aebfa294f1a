import { ChunkSet } from '../bytes/chunk-set.js';
import { endOf } from '../bytes/extent.js';
import { ChangeSet } from '../changes/change-set.js';
import type { Surroundings } from '../host/surroundings.js';
import { openWhole, sourceOfVolume, type WholeVolume } from '../sources/open-whole.js';
import { readUnmappedChunks } from '../sources/read-thin-delta.js';
import { nameOfTarget, tellLarger } from '../transport/target-spec.js';
import { findDifferences, verifiedSince, type ScanSending } from './scan.js';
import { send, type TransferSummary } from './transfer.js';

/** The unit for a volume without a map of its chunks: the size of one read. Bytes. */
const WHOLE_UNIT = 1024 * 1024;
/** The unit for the holes of a file: smaller holes are sent as zeroes. Bytes. */
const HOLE_UNIT = 64 * 1024;

/** What to copy, and what is known of both sides. */
export interface CopySpec {
  /** A volume or image file of this host. */
  readonly name: string;
  /** Whether the target resembles the source: then both sides are compared first, and only what differs is sent. */
  readonly seed: boolean;
  /** Whether the user declares that nothing writes to the source. */
  readonly isQuiesced: boolean;
}

/**
 * Copies all of a volume or image file of this host to a target, whatever the target holds. Unmapped chunks and holes
 * of the source are sent as discards. Afterwards the record of the target says that it holds the state that was read,
 * so that later changes can be sent. *
 * Throws as `transfer`, and as `scan` with `seed`.
 */
export async function copy(
  { name, seed, isQuiesced }: CopySpec,
  sending: ScanSending,
  env: Surroundings,
): Promise<TransferSummary> {
  const started = env.clock();
  const began = env.now().toISOString();
  const { destination, reach } = sending;
  const volume = await openWhole(name, env, isQuiesced);
  try {
    const changes = seed
      ? await findDifferences(volume, destination, reach, env)
      : await readAll(volume, env);
    const source = sourceOfVolume(volume, { scope: 'full', result: volume.identity }, changes);
    const summary = await send(source, { ...sending, protocol: 4 }, env);
    tellLarger(nameOfTarget(destination.spec), summary.targetSize, summary.volumeSize, env);
    const verified = seed ? verifiedSince(began, summary) : summary.verified;
    return { ...summary, verified, seconds: (env.clock() - started) / 1000, source: name };
  } finally {
    await volume.watch.close();
  }
}

/** All of a volume as changes, with its unmapped chunks or holes. Throws DeviceError, and what asking a pool throws. */
async function readAll({ name, device, thin }: WholeVolume, env: Surroundings): Promise<ChangeSet> {
  const { size } = device;
  const isFile = device.number === null;
  const unit = thin?.pool.chunkSize ?? (isFile ? HOLE_UNIT : WHOLE_UNIT);
  const all = new ChunkSet();
  all.addRange(0, Math.ceil(size / unit));
  let unmapped = new ChunkSet();
  if (thin !== null) {
    unmapped = await readUnmappedChunks(thin.pool, { name, deviceId: thin.deviceId }, size, env);
  } else if (isFile) unmapped = await readHoles(device, unit);
  return new ChangeSet({ granularity: unit, trackedSize: size, volumeSize: size }, all, unmapped);
}

/** The units of a file that are entirely in a hole. */
async function readHoles(device: WholeVolume['device'], unit: number): Promise<ChunkSet> {
  const holes = new ChunkSet();
  let end = 0;
  for await (const data of device.dataExtents()) {
    holes.addRange(Math.ceil(end / unit), Math.floor(data.offset / unit));
    end = endOf(data);
  }
  // The last unit may be shorter.
  holes.addRange(Math.ceil(end / unit), Math.ceil(device.size / unit));
  return holes;
}
