import type { LendBuffer } from '../bytes/byte-channel.js';
import { crc32, isZero } from '../bytes/contents.js';
import type { Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import { readBlocks } from '../engine/block-reader.js';
import type { Proof } from '../stream/block.js';

/** The size of a sample's blocks: smaller reads cost about as much. Bytes. */
const BLOCK = 4096;
const CHANGED_COUNT = 32;
/** How many blocks outside the change set are always checked. */
const UNCHANGED_COUNT = 128;
/** How many more are checked if someone may have written to the target since the last run. */
const CLOSER_COUNT = 1024;
/** How often to try for a block that is not zero: zeroes do not tell one volume from another. */
const MOST_TRIES = 4;
/** How often to draw a random block that turns out to be changed before its stratum is skipped. */
const MOST_DRAWS = 32;

/** Proofs of a few blocks of the base, with which a receiver can tell this volume from another. */
export interface BaseSample {
  readonly changed: readonly Proof[];
  /** Of blocks outside the change set: they must match in any case. */
  readonly unchanged: readonly Proof[];
}

/**
 * Takes a random sample of a base, spread over all of it, and prefers blocks that are not zero. The blocks that did not
 * change can be read from `unchanged` if the base itself no longer exists. Throws DeviceError.
 */
export async function takeSample(
  base: ReadableVolume | null,
  unchanged: ReadableVolume | null,
  changes: ChangeSet,
  lend: LendBuffer,
): Promise<BaseSample> {
  const changed: Proof[] = [];
  if (base !== null) {
    for await (const { proof } of prove(base, pickChanged(base, changes), lend)) changed.push(proof);
  }
  return { changed, unchanged: unchanged === null ? [] : await proveUnchanged(unchanged, changes, lend) };
}

/** Takes a larger random sample of what did not change, in which each block is equally likely. Throws DeviceError. */
export async function takeCloserSample(
  base: ReadableVolume,
  changes: ChangeSet,
  lend: LendBuffer,
): Promise<Proof[]> {
  const proofs: Proof[] = [];
  const picked = strataOf(base, changes, CLOSER_COUNT).flatMap((each) => pickUnchanged(each, changes) ?? []);
  for await (const { proof } of prove(base, extentsOf(picked, base), lend)) proofs.push(proof);
  return proofs;
}

/** The first blocks of up to 32 changed chunks, each equally likely. */
function* pickChanged(base: ReadableVolume, changes: ChangeSet): Generator<Extent> {
  const { count } = changes.chunks;
  const wanted = new Set(Array.from({ length: CHANGED_COUNT }, () => Math.floor(Math.random() * count)));
  const ranks = [...wanted].sort((a, b) => a - b);
  let seen = 0;
  let next = 0;
  for (const run of changes.chunks.runs()) {
    for (let rank = ranks[next]; rank !== undefined && rank < seen + run.length; rank = ranks[++next]) {
      const offset = (run.offset + rank - seen) * changes.granularity;
      yield { offset, length: Math.min(changes.granularity, BLOCK, base.size - offset) };
    }
    seen += run.length;
  }
}

/** One block of each part of the volume. If it is zero, tries another one of that part. */
async function proveUnchanged(base: ReadableVolume, changes: ChangeSet, lend: LendBuffer): Promise<Proof[]> {
  const found = new Map<number, Proof>();
  let open = strataOf(base, changes, UNCHANGED_COUNT);
  for (let tries = 0; tries < MOST_TRIES && open.length > 0; tries++) {
    const picked = open.flatMap((stratum) => {
      const block = pickUnchanged(stratum, changes);
      return block === null ? [] : [{ stratum, block }];
    });
    const blocks = picked.map(({ block }) => block);
    open = [];
    let index = 0;
    for await (const { proof, isEmpty } of prove(base, extentsOf(blocks, base), lend)) {
      const stratum = picked[index++]?.stratum;
      if (stratum === undefined) break;
      found.set(stratum.from, proof);
      if (isEmpty && stratum.to - stratum.from > 1) open.push(stratum);
    }
  }
  return [...found.values()];
}

/** A part of a volume: blocks from `from` to before `to`. */
interface Stratum {
  readonly from: number;
  readonly to: number;
}

/** `count` equal parts of what the change source tracks, or fewer if the volume has fewer blocks. */
function strataOf(base: ReadableVolume, { trackedSize }: ChangeSet, count: number): Stratum[] {
  const blocks = Math.ceil(Math.min(trackedSize ?? base.size, base.size) / BLOCK);
  const strata = Math.min(count, blocks);
  const startOf = (index: number) => Math.floor((index * blocks) / strata);
  return Array.from({ length: strata }, (_, index) => ({ from: startOf(index), to: startOf(index + 1) }));
}

/** A random block outside the changed chunks; null: not found. */
function pickUnchanged({ from, to }: Stratum, changes: ChangeSet): number | null {
  for (let draws = 0; draws < MOST_DRAWS; draws++) {
    const block = from + Math.floor(Math.random() * (to - from));
    if (!isChanged(block, changes)) return block;
  }
  return null;
}

/** A chunk can be smaller than a block. */
function isChanged(block: number, { chunks, granularity }: ChangeSet): boolean {
  const end = (block + 1) * BLOCK;
  for (let chunk = Math.floor((block * BLOCK) / granularity); chunk * granularity < end; chunk++) {
    if (chunks.has(chunk)) return true;
  }
  return false;
}

function extentsOf(blocks: readonly number[], base: ReadableVolume): Extent[] {
  return blocks.map((block) => {
    const offset = block * BLOCK;
    return { offset, length: Math.min(BLOCK, base.size - offset) };
  });
}

/** Reads ascending extents, each within one block, several at a time. */
async function* prove(base: ReadableVolume, extents: Iterable<Extent>, lend: LendBuffer) {
  for await (const { offset, data } of readBlocks(base, extents, BLOCK, lend)) {
    try {
      const { bytes } = data;
      yield { proof: { offset, length: bytes.length, crc: crc32(bytes) }, isEmpty: isZero(bytes) };
    } finally {
      data.release();
    }
  }
}
