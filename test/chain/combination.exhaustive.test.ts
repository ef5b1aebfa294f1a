import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planCombination } from '../../src/chain/combination.js';
import { BaseMismatchError, UsageError } from '../../src/errors.js';
import {
  applyWrites,
  archiveBytes,
  landOn,
  openBytes,
  proto3Bytes,
  SECTOR,
  type Wanted,
  type Write,
} from '../support/scenes/archives.js';

const SECTORS = 48;
const SIZE = SECTORS * SECTOR;
let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-combination-'))));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const write: fc.Arbitrary<Write> = fc.record({
  at: fc.nat(SECTORS - 1),
  count: fc.integer({ min: 1, max: 12 }),
  kind: fc.constantFrom('data', 'packed', 'zero', 'discard'),
  fill: fc.nat(250),
});
/** Ascending, without overlaps, within the volume. */
const pass = fc.array(write, { maxLength: 8 }).map((writes) => {
  let end = 0;
  return [...writes]
    .sort((a, b) => a.at - b.at)
    .flatMap((each) => {
      const count = Math.min(each.count, SECTORS - each.at);
      if (each.at < end) return [];
      end = each.at + count;
      return [{ ...each, count }];
    });
});
const wanted: fc.Arbitrary<Wanted> = fc.record({
  passes: fc.array(pass, { minLength: 1, maxLength: 3 }),
  indexed: fc.boolean(),
});

const someVolume = () => Buffer.alloc(SIZE, 'what was there before');

async function openAll(all: readonly Wanted[]) {
  return await Promise.all(
    all.map(async (each, index) => openBytes(folder, `a${index}`, await archiveBytes(SIZE, each))),
  );
}

describe('a combination', () => {
  it('has the effect of its archives one after another, at every step of a chain of 30', async () => {
    const chain = fc.array(wanted, { minLength: 30, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(chain, async (all) => {
        const archives = await openAll(all);
        const applied = someVolume();
        for (const [index, each] of all.entries()) {
          applyWrites(applied, each.passes);
          const combined = someVolume();
          await landOn(combined, planCombination(archives.slice(0, index + 1)));
          expect(combined).toBeBytes(applied);
        }
      }),
      { numRuns: 8 },
    );
  });

  it('touches only what one of them touches, and brings each byte once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(wanted, { minLength: 1, maxLength: 5 }), async (all) => {
        const plan = planCombination(await openAll(all));
        const touched = Buffer.alloc(SIZE);
        for (const { at, count } of all.flatMap(({ passes }) => passes.flat())) {
          touched.fill(1, at * SECTOR, (at + count) * SECTOR);
        }
        let end = 0;
        for (const { offset, length } of plan.extents) {
          expect(offset).toBeGreaterThanOrEqual(end);
          end = offset + length;
          expect(touched.subarray(offset, end).includes(0)).toBe(false);
          touched.fill(2, offset, end);
        }
        expect(touched.includes(1)).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  it('takes the last record of a byte from PROTO[3] changes, the first from a PROTO[3] undo', async () => {
    const records = fc.array(write, { minLength: 1, maxLength: 12 }).map((writes) =>
      writes.map((each) => ({
        ...each,
        kind: 'data' as const,
        count: Math.min(each.count, SECTORS - each.at),
      })),
    );
    await fc.assert(
      fc.asyncProperty(records, async (writes) => {
        const bytes = await proto3Bytes(writes);
        for (const kind of ['changes', 'undo'] as const) {
          const archive = await openBytes(folder, 'proto3', bytes, kind);
          const [applied, combined] = [someVolume(), someVolume()];
          applyWrites(applied, [kind === 'changes' ? writes : writes.toReversed()]);
          await landOn(combined, planCombination([archive]));
          expect(combined).toBeBytes(applied);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('a chain', () => {
  const make = async (name: string, header: Wanted['header']) => {
    const bytes = await archiveBytes(SIZE, { passes: [[]], indexed: true, ...(header && { header }) });
    return await openBytes(folder, name, bytes);
  };

  it('whose archives meet has the first base and the last result', async () => {
    const a = await make('a', { kind: 'undo', base: 'C', result: 'B', blockSize: 65_536 });
    const b = await make('b', { kind: 'undo', base: 'B', result: 'A', blockSize: 4096, volumeSize: 8192 });
    expect(planCombination([a, b])).toMatchObject({
      ...{ kind: 'undo', base: 'C', result: 'A', blockSize: 4096, volumeSize: SIZE, believed: [] },
    });
  });

  it('that does not meet is refused, naming both files and identities', async () => {
    const a = await make('a', { base: 'A', result: 'B' });
    const b = await make('b', { base: 'X', result: 'C' });
    expect(() => planCombination([a, b])).toThrow(BaseMismatchError);
    expect(() => planCombination([a, b])).toThrow(/\/b: it starts from X, but .*\/a leads to B/);
    const forced = planCombination([a, b], { forceBase: true });
    expect(forced).toMatchObject({ base: 'A', result: null, believed: [expect.any(String)] });
  });

  it('with a state that has no name is assumed to meet, and says so', async () => {
    const a = await make('a', { base: 'A', result: null });
    const b = await make('b', { base: 'B', result: 'C' });
    const { believed, result } = planCombination([a, b]);
    // what it leads to may be anything
    expect(result).toBeNull();
    expect(believed).toEqual([expect.stringMatching(/\/a leads to a state without a name/)]);
  });

  it('that goes two ways is refused', async () => {
    const a = await make('a', { kind: 'changes', base: 'A', result: 'B' });
    const b = await make('b', { kind: 'undo', base: 'B', result: 'A' });
    expect(() => planCombination([a, b])).toThrow(UsageError);
  });

  it('with an archive that holds parts of chunks is refused: it would lose what proves them', async () => {
    const a = await make('a', { base: 'A', result: 'B' });
    const b = await make('b', { base: 'B', result: 'C', unit: 512 });
    for (const all of [[a, b], [b]]) {
      expect(() => planCombination(all)).toThrow(UsageError);
      expect(() => planCombination(all)).toThrow(/\/b: .*--whole-chunks/);
    }
  });
});
