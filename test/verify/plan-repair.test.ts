import { describe, expect, it } from 'vitest';
import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import { planRepair } from '../../src/verify/plan-repair.js';

/* What is done about differences, by facts alone: no device, no far side. */

const UNIT = 4096;
const SIZE = 100 * UNIT;

function unitsOf(...units: readonly number[]): ChangeSet {
  const chunks = new ChunkSet();
  for (const unit of units) chunks.addRange(unit, unit + 1);
  return new ChangeSet({ granularity: UNIT, trackedSize: SIZE, volumeSize: SIZE }, chunks);
}

const DIFFERING = unitsOf(3, 4, 50);
const WHOLE = { repair: true, isWhole: true };

describe('the plan of a repair', () => {
  it('sends what differs, and compares that again', () => {
    expect(planRepair(WHOLE, { differing: DIFFERING, changes: null })).toEqual({
      steps: [
        { do: 'send', what: DIFFERING, scope: 'compared' },
        { do: 'compare again', what: DIFFERING },
      ],
      outsideBytes: null,
    });
  });

  it('calls the rest compared only if it was', () => {
    const [send] = planRepair({ ...WHOLE, isWhole: false }, { differing: DIFFERING, changes: null }).steps;
    expect(send).toEqual({ do: 'send', what: DIFFERING });
  });

  it.each([
    ['nothing differs', WHOLE, unitsOf()],
    ['a verify repairs nothing', { ...WHOLE, repair: false }, DIFFERING],
  ])('writes nothing if %s', (_, request, differing) => {
    expect(planRepair(request, { differing, changes: null }).steps).toEqual([]);
  });

  it.each([
    ['all', unitsOf(7), 3],
    ['a part', unitsOf(4, 7), 2],
    ['nothing', unitsOf(3, 4, 5, 50), 0],
  ])('counts what is not among the changes: %s', (_, changes, units) => {
    expect(planRepair(WHOLE, { differing: DIFFERING, changes }).outsideBytes).toBe(units * UNIT);
  });
});
