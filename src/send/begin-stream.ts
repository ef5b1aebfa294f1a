import type { LendBuffer } from '../bytes/byte-channel.js';
import { sumLengths } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { makerOf, type Surroundings } from '../host/surroundings.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { takeSample, type BaseSample } from './base-sample.js';

const DEFAULT_BLOCK_SIZE = 4096;

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
  env: Surroundings,
  lend: LendBuffer,
): Promise<StreamOpening> {
  const changes = await source.readChanges();
  const base = proofs ? source.baseVolume : null;
  const unchanged = proofs ? (source.baseVolume ?? source.unchangedVolume) : null;
  const sample = await takeSample(base, unchanged, changes, lend);
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
  source: ChangeSource,
  changes: ChangeSet,
  { sample, unit }: { readonly sample: BaseSample; readonly unit: number | null },
  env: Surroundings,
): Promise<StreamHeader> {
  // A source that was written to since it was opened has no named state.
  const isUnnamed = (await source.dataProof()) === null && !(await source.isConsistent());
  const mappedBytes = sumLengths(changes.dataExtents());
  const table = source.tableOf?.(changes) ?? null;
  return {
    kind: source.scope === undefined ? 'changes' : 'full',
    ...(source.scope === 'compared' ? { compared: true } : {}),
    volumeSize: source.volumeSize,
    blockSize: changes.granularity,
    ...(unit === null ? {} : { unit }),
    base: source.base,
    result: isUnnamed ? null : source.result,
    expectedBytes: changes.changedBytes,
    ...(mappedBytes < changes.changedBytes ? { mappedBytes } : {}),
    ...(table === null ? {} : { table }),
    sample: { changed: sample.changed.length, unchanged: sample.unchanged.length },
    names: { source: source.name, origin: source.origin },
    ...makerOf(env),
  };
}
