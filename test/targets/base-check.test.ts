import { describe, expect, it } from 'vitest';
import { BaseMismatchError } from '../../src/errors.js';
import { checkBase, type SampleResult } from '../../src/targets/base-check.js';
import type { TargetState } from '../../src/targets/state-record.js';
import { undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';

const TABLE = { id: 'LVM-S', entries: 7 };
const target = new MemoryDevice(4096, '/dev/t');
const fits: SampleResult = { changed: { looked: 32, failed: 0 }, unchanged: { looked: 32, failed: 0 } };
const rerun: SampleResult = { ...fits, changed: { looked: 32, failed: 32 } };
const other: SampleResult = { changed: { looked: 32, failed: 32 }, unchanged: { looked: 32, failed: 31 } };
const onlyChanged: SampleResult = {
  changed: { looked: 32, failed: 20 },
  unchanged: { looked: 0, failed: 0 },
};

function check(kind: 'changes' | 'undo', state: TargetState | null, sample: SampleResult): void {
  const header = { ...undoFor(4096, 4096), kind, base: 'LVM-S', result: 'LVM-R', table: TABLE };
  checkBase(target, header, { state, sample });
}

describe('a stream meets a target', () => {
  it.each([
    ['that is not known, and fits', null, fits],
    ['that holds its base', { is: 'exactly', identity: 'LVM-S', from: null }, fits],
    ['that holds its result already', { is: 'exactly', identity: 'LVM-R', from: null }, rerun],
    ['that an earlier run left, unknown', null, rerun],
    [
      'that an earlier run of the same snapshot left',
      { is: 'since', identity: 'LVM-S', from: 'LVM-S', table: TABLE },
      rerun,
    ],
    [
      'that an earlier run of it left in the middle',
      { is: 'applying from', identity: 'LVM-S', from: 'LVM-S', to: 'LVM-R' },
      onlyChanged,
    ],
    [
      'that a later snapshot’s data source brought from the same base',
      { is: 'exactly', identity: 'LVM-X', from: 'LVM-S', table: TABLE },
      rerun,
    ],
    [
      'of a stopped origin, which a snapshot froze later',
      { is: 'exactly', identity: 'stopped-1', from: null },
      fits,
    ],
  ] as const)('%s', (_name, state, sample) => {
    expect(() => {
      check('changes', state, sample);
    }).not.toThrow();
  });

  it.each([
    ['another volume', 'changes', null, other, /another volume: 31 of 32/],
    [
      'another volume, whatever its record says',
      'changes',
      { is: 'exactly', identity: 'LVM-S', from: null },
      other,
      /another volume/,
    ],
    [
      'changed throughout, and none of it fits',
      'changes',
      null,
      onlyChanged,
      /another state of this one: 20 of 32/,
    ],
    [
      'another snapshot’s state',
      'changes',
      { is: 'exactly', identity: 'LVM-X', from: null },
      fits,
      /holds exactly LVM-X/,
    ],
    [
      'an undo of another state',
      'undo',
      { is: 'exactly', identity: 'stopped-2', from: null },
      fits,
      /starts from LVM-S/,
    ],
    [
      'a state that an undo’s own base led to',
      'undo',
      { is: 'exactly', identity: 'LVM-X', from: 'LVM-S', table: TABLE },
      fits,
      /holds exactly LVM-X, but the undo starts from LVM-S/,
    ],
    [
      'an undo on its base with some of the changes since',
      'undo',
      { is: 'since', identity: 'LVM-S', from: 'LVM-S', table: TABLE },
      fits,
      /holds LVM-S with later changes, but the undo starts from LVM-S/,
    ],
    [
      'what more of the same table brought',
      'changes',
      { is: 'exactly', identity: 'LVM-X', from: 'LVM-S', table: { ...TABLE, entries: 8 } },
      rerun,
      /the result of other changes from LVM-S: this stream may not cover all/,
    ],
    [
      'what another table brought from the same base',
      'changes',
      { is: 'since', identity: 'LVM-S', from: 'LVM-S', table: { ...TABLE, id: 'LVM-T' } },
      rerun,
      /other changes from LVM-S: this/,
    ],
    [
      'what nobody knows to be covered',
      'changes',
      { is: 'exactly', identity: 'LVM-X', from: 'LVM-S' },
      fits,
      /other changes from LVM-S: this/,
    ],
    [
      'half of the way to another state',
      'changes',
      { is: 'applying from', identity: 'LVM-S', from: 'LVM-S', to: 'LVM-Y' },
      onlyChanged,
      /other changes from LVM-S: this/,
    ],
    [
      'half of the way from another state to its own base, which nothing takes back',
      'changes',
      { is: 'applying from', identity: 'LVM-Q', from: 'LVM-Q', to: 'LVM-S' },
      fits,
      /part of an apply to LVM-Q that was interrupted, so repeat that one first: .* starts from LVM-S/,
    ],
  ] as const)('and refuses %s', (_name, kind, state, sample, message) => {
    const checking = () => {
      check(kind, state, sample);
    };
    expect(checking).toThrow(BaseMismatchError);
    expect(checking).toThrow(message);
    expect(checking).toThrow(/nothing was written.*--force=base/);
  });
});
