import { describe, expect, it } from 'vitest';
import { planApply, type ApplyFacts, type ApplyRequest } from '../../src/apply/plans/plan-apply.js';
import { planRun } from '../../src/apply/plans/plan-run.js';
import { DeviceError, LostJournalError, UnsafeTargetError } from '../../src/errors.js';
import type { StreamHeader } from '../../src/stream/stream-header.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { NOTHING_SAMPLED } from '../../src/targets/base-check.js';
import type { KnownState, TargetState } from '../../src/targets/state-record.js';
import { someHeader } from '../support/scenes/feed.js';

/* What becomes of a stream, by facts alone: no device, no file, no clock. */

const SIZE = 1024 * 1024;
const PATH = '/dev/vg/vm';

function requestOf(
  header: Partial<StreamHeader> | null,
  policy: Partial<ApplyRequest['policy']> = {},
): ApplyRequest {
  const whole =
    header === null
      ? null
      : { ...someHeader(SIZE), base: 'S1', result: 'S2', expectedBytes: 8192, ...header };
  return { header: whole, policy: { ...DEFAULT_POLICY, ...policy }, change: whole };
}

const known = (holds: TargetState | null, more: Partial<KnownState> = {}): KnownState => ({
  ...{ holds, isStale: false, run: null },
  ...more,
});
const exactly = (identity: string): TargetState => ({ is: 'exactly', identity, from: null });
const believed = (identity: string): TargetState => ({
  ...exactly(identity),
  believed: 'of an earlier boot',
});

function factsOf(facts: Partial<ApplyFacts>): ApplyFacts {
  return {
    ...{ path: PATH, size: SIZE, isFile: false, known: known(exactly('S1')), isTakenBack: false },
    ...{ sample: NOTHING_SAMPLED, undo: { isReadable: false, found: null }, shortages: [] },
    ...facts,
  };
}

const planOf = (request: ApplyRequest, facts: Partial<ApplyFacts> = {}) => planApply(request, factsOf(facts));
const codesOf = (request: ApplyRequest, facts: Partial<ApplyFacts> = {}) =>
  planOf(request, facts).refusals.map(({ code }) => code);

describe('the plan of an apply', () => {
  it('to a target that is known to hold the base has one step', () => {
    expect(planOf(requestOf({}))).toEqual({
      ...{ path: PATH, looksCloser: false },
      write: { do: 'write', bytes: 8192, keeps: 'journal' },
      ...{ from: 'S1', to: 'S2', refusals: [], warnings: [] },
    });
  });

  it.each([
    ['a journal by default', {}, {}, 'journal'],
    ['a snapback in its place', {}, { snapback: '/undo/1' }, 'snapback'],
    ['nothing with --no-journal', {}, { journal: false }, 'nothing'],
    ['nothing of a full copy', { kind: 'full' }, {}, 'nothing'],
    ['the snapback of a full copy', { kind: 'full' }, { snapback: '/undo/1' }, 'snapback'],
    ['the journal of what was compared', { kind: 'full', compared: true }, {}, 'journal'],
  ] as const)('keeps old bytes in %s', (_, header, policy, keeps) => {
    expect(planOf(requestOf(header, policy)).write).toEqual({ do: 'write', bytes: 8192, keeps });
  });

  it.each([
    ['is sure', known(exactly('S1')), {}, false],
    ['is stale', known(null, { isStale: true }), {}, true],
    ['is missing', known(null), {}, true],
    ['is no more than believed', known(believed('S1')), {}, true],
    ['is missing, but all is overwritten', known(null), { kind: 'full' }, false],
  ] as const)('looks closer only if needed: the record %s', (_, state, header, looks) => {
    expect(planOf(requestOf(header), { known: state }).looksCloser).toBe(looks);
  });

  it.each([
    ['holds the base', exactly('S1'), []],
    ['holds the result', exactly('S2'), []],
    ['holds another state', exactly('S9'), ['BASE_MISMATCH']],
    ['holds a part of a copy', { ...exactly('S1'), is: 'copying' }, ['BASE_MISMATCH']],
    ['holds what other changes from the base brought', { ...exactly('S8'), from: 'S1' }, ['BASE_MISMATCH']],
  ] as const)('of changes, if the target %s', (_, holds, codes) => {
    expect(codesOf(requestOf({}), { known: known(holds) })).toEqual(codes);
    expect(codesOf(requestOf({}, { forceBase: true }), { known: known(holds) })).toEqual([]);
  });

  it.each([
    ['its base, for sure', exactly('S1'), null, []],
    ['another state', exactly('S9'), null, ['BASE_MISMATCH']],
    ['its base, as is believed, and proved', believed('S1'), { is: 'proved' }, []],
    [
      'its base, as is believed, and something differs',
      believed('S1'),
      { is: 'differs', offset: 512 },
      ['BASE_MISMATCH'],
    ],
    ['nobody knows what, and it is proved', null, { is: 'proved' }, []],
    ['nobody knows what, and not all is proved', null, { is: 'unproved', offset: 0 }, ['BASE_MISMATCH']],
    ['nobody knows what, and nothing was looked at', null, null, ['BASE_MISMATCH']],
  ] as const)('of an undo from a file, if the target holds %s', (_, holds, found, codes) => {
    const undo = { isReadable: true, found };
    expect(codesOf(requestOf({ kind: 'undo' }), { known: known(holds), undo })).toEqual(codes);
  });

  it('of an undo from a pipe refuses what only its end could decide', () => {
    const undo = requestOf({ kind: 'undo', base: 'S2', result: 'S1' });
    expect(codesOf(undo, { known: known(exactly('S1')), undo: { isReadable: true, found: null } })).toEqual(
      [],
    );
    expect(codesOf(undo, { known: known(exactly('S1')) })).toEqual(['BASE_MISMATCH']);
  });

  it('refuses a sample of another volume, unless forced', () => {
    const sample = { changed: { looked: 4, failed: 4 }, unchanged: { looked: 8, failed: 8 } };
    const [refusal] = planOf(requestOf({}), { known: known(null), sample }).refusals;
    expect(refusal?.message).toMatch(/another volume: 8 of 8 blocks .*; nothing was written\./);
    expect(codesOf(requestOf({}, { forceBase: true }), { sample })).toEqual([]);
  });

  it('says that nothing else was written if an earlier apply was taken back', () => {
    const [refusal] = planOf(requestOf({}), { known: known(exactly('S9')), isTakenBack: true }).refusals;
    expect(refusal?.message).toMatch(/nothing else was written/);
  });

  it.each([
    ['a volume', PATH, false, `a logical volume: lvextend -L ${SIZE}b ${PATH}`],
    ['an image file', "a file's", true, `truncate -s ${SIZE} 'a file'\\''s'`],
  ])(
    'refuses %s that is too small, also with --force=base, and says how to enlarge it',
    (_, path, isFile, how) => {
      const plan = planOf(requestOf({}, { forceBase: true }), { path, isFile, size: SIZE / 2 });
      expect(plan.refusals).toEqual([expect.any(UnsafeTargetError)]);
      expect(plan.refusals[0]?.message).toBe(
        `${path}: too small: it has 512 KiB, and the volume has 1 MiB: enlarge it first (${how})`,
      );
    },
  );

  it('tells sizes to the byte where they would read the same', () => {
    const gibibyte = 1024 ** 3;
    const facts = { size: gibibyte - 512 };
    const [refusal] = planOf(requestOf({ volumeSize: gibibyte }), facts).refusals;
    expect(refusal?.message).toMatch(
      /: too small: it has 1073741312 bytes, and the volume has 1073741824 bytes: enlarge/,
    );
  });

  it('names everything that is in the way, and first what the receiver requires', () => {
    const shortages = [
      new UnsafeTargetError(PATH, 'its thin pool is full'),
      new DeviceError('/var', 'stat', null, 'EIO'),
    ];
    const request = requestOf({}, { requireSnapback: true });
    const facts = { known: known(exactly('S9')), shortages };
    expect(codesOf(request, facts)).toEqual(['USAGE', 'BASE_MISMATCH', 'UNSAFE_TARGET', 'DEVICE']);
  });

  it('of nothing keeps nothing, even if a snapback is required', () => {
    expect(codesOf(requestOf({ expectedBytes: 0 }, { requireSnapback: true }))).toEqual([]);
    expect(codesOf(requestOf({ expectedBytes: 0, kind: 'full' }, { requireSnapback: true }))).toEqual([
      'USAGE',
    ]);
  });

  it.each([
    ['changes', 1],
    ['full', 0],
  ] as const)('of %s warns %i times of a gap in what is known', (kind, count) => {
    const gap = known(believed('S1'), { gap: 'it was mapped anew' });
    expect(planOf(requestOf({ kind }), { known: gap }).warnings).toHaveLength(count);
  });

  it('of a PROTO[3] stream knows no size and no states', () => {
    expect(planOf(requestOf(null), { known: known(null) })).toMatchObject({
      looksCloser: true,
      write: { do: 'write', bytes: null, keeps: 'journal' },
      ...{ from: null, to: null, refusals: [] },
    });
    const half = known({ ...exactly('S1'), is: 'copying' });
    expect(codesOf(requestOf(null), { known: half })).toEqual(['BASE_MISMATCH']);
  });
});

describe('the plan of a run', () => {
  const nothing = { found: 'nothing', refusals: [] } as const;
  const lost = new LostJournalError('/var/lib/journal', 0, 'it is gone');
  const stepsOf = (earlier: Parameters<typeof planRun>[0], facts: Partial<ApplyFacts> = {}) =>
    planRun(earlier, planOf(requestOf({}), facts)).steps.map((step) => step.do);

  it('is the plan of the apply if no apply was cut short', () => {
    const { looksCloser, write, warnings, ...same } = planOf(requestOf({}));
    expect([looksCloser, warnings]).toEqual([false, []]);
    expect(planRun(nothing, planOf(requestOf({})))).toEqual({ ...same, steps: [write] });
  });

  it.each([
    ['incomplete', ['settle', 'look closer', 'write']],
    ['complete', ['settle', 'look closer', 'write']],
    ['half copied', ['look closer', 'write']],
  ] as const)(
    'settles an earlier apply that left its journal, then looks, then writes: %s',
    (found, steps) => {
      expect(stepsOf({ ...nothing, found }, { known: known(null) })).toEqual(steps);
    },
  );

  it('is refused for what an earlier apply left, or else for what the apply meets', () => {
    const tooSmall = planOf(requestOf({}), { size: SIZE - 512 });
    expect(planRun({ found: 'incomplete', refusals: [lost] }, tooSmall).refusals).toEqual([lost]);
    expect(planRun(nothing, tooSmall).refusals).toEqual(tooSmall.refusals);
  });
});
