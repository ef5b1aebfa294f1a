import type { LendBuffer } from '../bytes/byte-channel.js';
import { sumLengths } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { makerOf, type Surroundings } from '../host/surroundings.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { takeSample, type BaseSample } from './base-sample.js';

const DEFAULT_BLOCK_SIZE = 4096;

/** The surroundings of a sender, with the memory of its blocks. */
export interface SendSurroundings extends Surroundings {
  readonly lend: LendBuffer;
}

/** How the old bytes of a source are used. */
export interface OldBytesWish {
  /** Whether to prove the base: by a sample before the first block, and block by block. */
  readonly proofs: boolean;
  /**
   * With proofs: the unit in which old and new bytes are compared, so that only what differs is sent. Bytes, a power of
   * two from 512 to 1 MiB; 4 KiB by default.
   */
  readonly blockSize?: number;
}

/** What a source's stream begins with, and what was read for it. */
export interface StreamOpening {
  readonly changes: ChangeSet;
  /** The volume as it was; null where it cannot be read, or is not wanted. */
  readonly base: ReadableVolume | null;
  /** Where what did not change can be read. */
  readonly unchanged: ReadableVolume | null;
  /** What the changes are compared in; null where they are sent whole. Bytes. */
  readonly unit: number | null;
  readonly sample: BaseSample;
  readonly header: StreamHeader;
}

/** Reads a source's changes and a sample of its base. Throws what the source throws, DeviceError. */
export async function beginStream(
  source: ChangeSource,
  { proofs, blockSize = DEFAULT_BLOCK_SIZE }: OldBytesWish,
  env: SendSurroundings,
): Promise<StreamOpening> {
  const { volumes } = source;
  const changes = await source.watch.readChanges();
  const base = proofs ? volumes.base : null;
  const unchanged = proofs ? (volumes.base ?? volumes.unchanged) : null;
  const sample = await takeSample(base, unchanged, changes, env.lend);
  const unit = base === null ? null : unitOf(blockSize, changes.granularity);
  const header = await headerOf(source, changes, { sample, unit }, env);
  return { changes, base, unchanged, unit, sample, header };
}

/** The unit in which changes are compared: a power of two that divides the unit in which they are tracked. Bytes. */
function unitOf(blockSize: number, granularity: number): number {
  let unit = blockSize;
  while (granularity % unit !== 0) unit /= 2;
  return unit;
}

async function headerOf(
  { facts, watch }: ChangeSource,
  changes: ChangeSet,
  { sample, unit }: { readonly sample: BaseSample; readonly unit: number | null },
  env: Surroundings,
): Promise<StreamHeader> {
  // A source that was written to since it was opened has no named state.
  const isUnnamed = (await watch.dataProof()) === null && !(await watch.isConsistent());
  const mappedBytes = sumLengths(changes.dataExtents());
  const table = watch.tableOf?.(changes) ?? null;
  return {
    kind: facts.scope === undefined ? 'changes' : 'full',
    ...(facts.scope === 'compared' ? { compared: true } : {}),
    volumeSize: facts.volumeSize,
    blockSize: changes.granularity,
    ...(unit === null ? {} : { unit }),
    base: facts.base,
    result: isUnnamed ? null : facts.result,
    expectedBytes: changes.changedBytes,
    ...(mappedBytes < changes.changedBytes ? { mappedBytes } : {}),
    ...(table === null ? {} : { table }),
    sample: { changed: sample.changed.length, unchanged: sample.unchanged.length },
    names: { source: facts.name, origin: facts.origin },
    ...makerOf(env),
  };
}
