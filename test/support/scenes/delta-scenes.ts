import fc from 'fast-check';
import { ChunkSet } from '../../../src/bytes/chunk-set.js';
import { splitExtents } from '../../../src/bytes/extent.js';
import { ChangeSet } from '../../../src/changes/change-set.js';
import type { ChangeSource } from '../../../src/changes/change-source.js';
import { altered, changesOf, type SourceParts, trackingOf } from '../change-source.js';
import { MemoryDevice } from '../memory-device.js';

export const UNIT = 512;
const UNITS_PER_CHUNK = 8;
const CHUNK = UNIT * UNITS_PER_CHUNK;
const CHUNKS = 24;
/** The last one is cut. */
const VOLUME = CHUNKS * CHUNK - 3 * UNIT;
const UNITS = VOLUME / UNIT;

/**
 * What a unit may hold: one of few fillings, so that equal ones in different states are common. 0 is all zeroes.
 */
const filling = fc.integer({ min: 0, max: 4 });

/** The states of a volume and what a target holds, in units. */
export interface DeltaScene {
  readonly table: readonly number[];
  /** What the target should hold, what the old bytes are said to be, what the new ones are. */
  readonly base: readonly number[];
  readonly old: readonly number[];
  readonly now: readonly number[];
  readonly target: readonly number[];
}

/** How the target, or the snapshot's own bytes, differ from the base where the table names a chunk. */
export type Oddness = 'as it should be' | 'target odd' | 'snapshot written' | 'both';

const table = fc.uniqueArray(fc.nat(CHUNKS - 2), { minLength: 1, maxLength: CHUNKS - 4 });
const units = fc.array(filling, { minLength: UNITS, maxLength: UNITS });
/** Of each unit: keep what is there, or take another filling. Mostly keep. */
const edits = fc.array(fc.option(filling, { freq: 2, nil: null }), { minLength: UNITS, maxLength: UNITS });
/** Of each chunk of the target: base, new, a part of the new units, something else. */
const holdings = fc.array(fc.constantFrom('base', 'base', 'new', 'some new', 'other'), {
  minLength: CHUNKS,
  maxLength: CHUNKS,
});

export function scenes(oddness: Oddness): fc.Arbitrary<DeltaScene> {
  return fc.record({ table, base: units, edits, written: edits, holdings, other: units }).map((drawn) => {
    const changed = new Set(drawn.table);
    const isChanged = (unit: number) => changed.has(Math.floor(unit / UNITS_PER_CHUNK));
    const edit = (state: readonly number[], by: readonly (number | null)[]) =>
      state.map((value, unit) => (isChanged(unit) ? (by[unit] ?? value) : value));
    const now = edit(drawn.base, drawn.edits);
    const isOdd = oddness === 'target odd' || oddness === 'both';
    const target = drawn.base.map((value, unit) => {
      if (!isChanged(unit) || !isOdd) return value;
      const holds = drawn.holdings[Math.floor(unit / UNITS_PER_CHUNK)];
      if (holds === 'new' || (holds === 'some new' && unit % 3 === 0)) return now[unit] ?? 0;
      return holds === 'other' ? (drawn.other[unit] ?? 0) : value;
    });
    const old =
      oddness === 'snapshot written' || oddness === 'both' ? edit(drawn.base, drawn.written) : drawn.base;
    return { table: drawn.table, base: drawn.base, old, now, target };
  });
}

export function bytesOf(state: readonly number[]): Buffer {
  const bytes = Buffer.alloc(VOLUME);
  state.forEach((value, unit) =>
    bytes.fill(value === 0 ? '\0' : `${value} in ${unit}; `, unit * UNIT, (unit + 1) * UNIT),
  );
  return bytes;
}

/** The scene's changes, whose data is proved to stay as it is. */
export function sourceOf(scene: DeltaScene, parts: SourceParts = {}): ChangeSource {
  const usual = altered(changesOf(new MemoryDevice(bytesOf(scene.now), '/dev/new'), []), {
    facts: { result: 'RESULT' },
    volumes: { base: new MemoryDevice(bytesOf(scene.old), '/dev/old') },
    watch: {
      dataProof: () => Promise.resolve('read-only RESULT'),
      readChanges: (most = Infinity) => Promise.resolve(changesOfScene(scene.table.slice(0, most))),
    },
  });
  return altered(usual, parts);
}

function changesOfScene(chunks: readonly number[]): ChangeSet {
  const set = new ChunkSet();
  for (const chunk of chunks) set.add(chunk);
  return new ChangeSet(trackingOf(CHUNK, VOLUME), set);
}

/** How many pieces of the volume the target holds neither old nor new. */
export function countMismatches({ table, old, now, target }: DeltaScene): number {
  const [olds, news, held] = [bytesOf(old), bytesOf(now), bytesOf(target)];
  const of = (bytes: Buffer, offset: number, length: number) => bytes.subarray(offset, offset + length);
  let count = 0;
  for (const { offset, length } of splitExtents(changesOfScene(table).dataExtents(), 1024 * 1024)) {
    const there = of(held, offset, length);
    if (!there.equals(of(olds, offset, length)) && !there.equals(of(news, offset, length))) count += 1;
  }
  return count;
}
