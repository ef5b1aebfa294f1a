import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import path from 'node:path';
import { compareChunks, scatter, writeChunks, writeSparseStore, type FillChunk } from './stores.js';
import type { Workplace } from './workplace.js';

const CHUNK_SIZE = 65_536;
const VOLUME_BITS = 15;

/** Changed bytes, unless told otherwise: 1 GiB, half of a volume of 2 GiB. */
export const CHANGED_BYTES = 2 ** (VOLUME_BITS - 1) * CHUNK_SIZE;
/** Changed chunks of the volume, the same bytes alone, and room for a target, a copy and a journal. */
export const SPACE_NEEDED = 5.6 * CHANGED_BYTES;

/** A volume of which 64 KiB chunks, by chance, changed. Paths of files. */
export interface ChangedVolume {
  readonly changedBytes: number;
  readonly cow: string;
  readonly origin: string;
  /** The changed bytes, end to end: what rivals copy. */
  readonly alone: string;
  readonly target: string;
  /** Where a rival copies to. */
  readonly copy: string;
  /** Throws unless the target has every changed chunk. */
  readonly verify: () => void;
}

/** How large a volume is, in chunks as a power of two, how many of them changed, and what those hold. */
export interface VolumeContents {
  readonly bits: number;
  /** Half of them, if not given. */
  readonly chunks?: number;
  /** Random bytes, if not given. */
  readonly fill?: FillChunk;
}

const USUAL: VolumeContents = { bits: VOLUME_BITS };
/** Nothing compresses these. */
const randomBytes: FillChunk = (chunk) => randomFillSync(chunk);

export function makeChangedVolume(
  { folder }: Workplace,
  { bits, chunks = 2 ** (bits - 1), fill = randomBytes } = USUAL,
): ChangedVolume {
  const file = (name: string): string => path.join(folder, name);
  const [cow, origin, alone] = [file('store.cow'), file('origin.img'), file('changed.bin')];
  const [target, copy] = [file('target.img'), file('copy.bin')];
  const size = 2 ** bits * CHUNK_SIZE;
  const changedBytes = chunks * CHUNK_SIZE;
  const firstWritten = Array.from({ length: chunks }, (_, index) => scatter(index, bits));
  const ascending = [...firstWritten].sort((a, b) => a - b);
  writeChunks({ path: origin, size }, alone, ascending, CHUNK_SIZE, fill);
  writeSparseStore(cow, CHUNK_SIZE / 512, chunks, (index) => firstWritten[index] ?? NaN);
  makeHole(target, size);
  makeHole(copy, changedBytes);
  const verify = (): void => {
    compareChunks(target, origin, ascending, CHUNK_SIZE);
  };
  return { changedBytes, cow, origin, alone, target, copy, verify };
}

function makeHole(file: string, size: number): void {
  const hole = openSync(file, 'wx');
  ftruncateSync(hole, size);
  closeSync(hole);
}
