import { expect, it } from 'vitest';
// Before all else: it puts what dies with a run in place of Node's files.
import { runProgram } from './programs.js';
import { ApplyUndo, Combine, Recover } from './commands-archive.js';
import { Discard, ForeignWrite, Replace, Resize } from './commands-disturb.js';
import { Send, WriteVolume, type SendWish, type Step } from './commands-send.js';
import { ApplyStream, WriteStream } from './commands-stream.js';
import { CopySnapshot, Verify, Whole } from './commands-whole.js';
import { ALL_UNITS, type UnitWrite } from './volume.js';

/*
 * Programs that once left what they should not, as short as they became. Each fails where the rule that it is about is
 * taken out of the code.
 */

const write = (...writes: readonly UnitWrite[]) => new WriteVolume(writes);
const usual: SendWish = {
  ...{ from: 0, goal: 'latest snapshot', to: 0, writes: [[0, 0]], isNamed: false, dir: 'one' },
  ...{ snapback: false, journal: true, force: false, blockSize: 512, isHasty: false },
  ...{ audit: null, isPulled: false, cutAfter: null, fault: null },
};
const send = (wish: Partial<SendWish> = {}) => new Send({ ...usual, ...wish });

const kill = (step: number) => ({ kind: 'kill', step }) as const;
const KEPT = { snapback: true } as const;

/** What happened, whether samples were taken, and the steps. */
const FOUND: readonly (readonly [string, boolean, readonly Step[]])[] = [
  [
    'a target that is too small now is refused before an earlier apply is taken back to a checkpoint',
    true,
    [
      write([2, 0], [0, 1]),
      send({ goal: 'stopped', isHasty: true, isPulled: true, fault: kill(28) }),
      new Resize(-1),
      send({ goal: 'stopped', isPulled: true }),
    ],
  ],
  [
    'a stopped volume that was written to while it was read gives no name',
    true,
    [write([0, 1], [40, 1]), send({ goal: 'live', isNamed: true, writes: [[40, 5]] })],
  ],
  [
    'an undo of a run that was forced onto another state leads to no name',
    true,
    [write([0, 1]), write([1, 2]), send({ from: 1, force: true, ...KEPT })],
  ],
  [
    'what was forced onto another state is no more than believed',
    true,
    [write([0, 1]), write([1, 2]), send({ from: 1, force: true })],
  ],
  [
    'an undo that took back its name is not let in by it',
    false,
    [
      write([0, 1]),
      new ForeignWrite([[0, 5]]),
      send({ dir: 'two', ...KEPT }),
      new CopySnapshot(0, false, 'one', null),
      new ApplyUndo(0, 'one', false, false, null),
    ],
  ],
  [
    'nor from a pipe',
    false,
    [
      write([0, 1]),
      new ForeignWrite([[0, 5]]),
      send({ dir: 'two', ...KEPT }),
      new CopySnapshot(0, false, 'one', null),
      new ApplyUndo(0, 'one', false, false, null, true),
    ],
  ],
  [
    'undos that were combined on belief lead to no name',
    true,
    [
      write([0, 1]),
      send(KEPT),
      send({ from: 1, goal: 'live', writes: [[5, 3]] }),
      write([7, 1]),
      send({ from: 1, ...KEPT }),
      new Combine(null),
    ],
  ],
  [
    'an undo is not applied to a later state than its own',
    true,
    [write([0, 1]), send(KEPT), write([1, 2]), send(KEPT), new ApplyUndo(1, 'one', false, false, null)],
  ],
  [
    'a journal does not go with another file of the same name',
    true,
    [
      write([0, 1], [9, 1]),
      send({ isHasty: true, fault: kill(20) }),
      new Replace(null),
      new Recover('one', false, null),
    ],
  ],
  [
    'changes that do not name all that came from their base are refused',
    false,
    [
      write([0, 1]),
      new WriteStream(0, 0),
      write([1, 2]),
      send(),
      new ApplyStream(-1, 'one', 'from a file', false, null),
    ],
  ],
  [
    'a half-copied target takes no changes',
    false,
    [write([0, 1]), new CopySnapshot(1, false, 'one', kill(14), true), write([1, 2]), send()],
  ],
  [
    'what someone wrote is said in the next run as well',
    false,
    [
      write([0, 1]),
      new ForeignWrite([
        [0, 5],
        [20, 5],
      ]),
      send(),
      write([1, 2]),
      send(),
    ],
  ],
  [
    'and no more when all of it was audited',
    false,
    [
      write([0, 1]),
      new ForeignWrite([
        [0, 5],
        [20, 5],
      ]),
      send(),
      write([1, 2]),
      send({ audit: 100 }),
      write([2, 1]),
      send({ audit: 100 }),
    ],
  ],
  [
    'also when no space is left for the record',
    true,
    [write([0, 1], [40, 1]), new ForeignWrite([[0, 5]]), send(), send({ fault: { kind: 'full', step: 25 } })],
  ],
  [
    'what someone wrote is not forgotten by an audit, nor by the word of the user',
    true,
    [new ForeignWrite([[0, 1]]), send({ force: true, audit: 100 })],
  ],
  [
    'a copy that is stopped after it took back an earlier apply leaves what someone wrote meanwhile, and no name',
    true,
    [
      write([9, 0], [0, 1]),
      send({ force: true, isHasty: true, fault: kill(21) }),
      new Verify(1, true, null),
      new Whole('copy', 0, 'one', { kind: 'term', step: 8 }),
    ],
  ],
  [
    'a copy that is stopped when all of it is there leaves no journal of what it overwrote',
    true,
    [
      write([1, 0]),
      send({ isHasty: true, isPulled: true, fault: { kind: 'term', step: 20 } }),
      new Resize(3),
      new CopySnapshot(0, false, 'one', { kind: 'term', step: 20 }),
      new Recover('one', true, null),
    ],
  ],
  [
    'an undo of what lies beside the bytes that someone wrote leads from its name to its name',
    true,
    [
      new ForeignWrite([[0, 1]]),
      write([1, 0]),
      new Resize(3),
      send({ force: true, ...KEPT }),
      new CopySnapshot(1, false, 'one', null),
      new ApplyUndo(0, 'one', false, false, null, true),
    ],
  ],
  [
    'a run that had no space to note its end counts as killed: what it is taken back to is no more than believed',
    true,
    [
      write([0, 1], [9, 1], [20, 1], [30, 1], [40, 1], [50, 1]),
      send({ isHasty: true, isPulled: true, cutAfter: 18258, fault: { kind: 'full', step: 25 }, ...KEPT }),
      new Discard(63),
      new Recover('one', false, null),
    ],
  ],
  [
    'a take-back that was stopped counts as killed: what it leads to is no more than believed',
    true,
    [
      write([20, 1]),
      send(KEPT),
      write([2, 0], [3, 4], [6, 0]),
      send({ goal: 'stopped', isHasty: true, blockSize: 4096, fault: { kind: 'term', step: 23 } }),
      new Whole('scan', 2, 'one', { kind: 'term', step: 6 }),
      new ForeignWrite([[50, 1]]),
      new Recover('one', false, null),
    ],
  ],
  [
    'a round of audits begins anew after a run that did not start from what was there',
    false,
    [
      send({ audit: 50 }),
      write([2, 5]),
      write([3, 1]),
      send({ from: 1, force: true }),
      write([4, 1]),
      send({ audit: 50 }),
    ],
  ],
];

it.each(FOUND)('%s', async (_what, isSampled, steps) => {
  const first = ALL_UNITS.map((_, unit): UnitWrite => [unit, unit % 8]);
  expect((await runProgram(first, isSampled, steps))['done']).toBeGreaterThan(0);
});
