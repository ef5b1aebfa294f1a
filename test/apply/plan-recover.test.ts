import { describe, expect, it } from 'vitest';
import {
  isUntouched,
  placeToContinue,
  planRecovery,
  type LeftOver,
  type NextStream,
  type RecoverFacts,
  type RecoverRequest,
} from '../../src/apply/plans/plan-recover.js';
import { BaseMismatchError, LostJournalError } from '../../src/errors.js';
import type { AnnouncedWrite, JournalContents, SavedExtent } from '../../src/journal/journal-reader.js';
import type { ApplyNote } from '../../src/journal/apply-note.js';
import type { StreamHeader } from '../../src/stream/stream-header.js';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../src/targets/apply-policy.js';
import type { TargetState } from '../../src/targets/state-record.js';
import { undoFor } from '../support/blocks.js';
import { someHeader } from '../support/scenes/feed.js';

/* What becomes of an unfinished apply, by facts alone: no device, no journal, no folder. */

const SIZE = 1024 * 1024;
const UNIT = 4096;
const PATH = '/dev/vg/vm';
const TOKEN = Buffer.from('token');

const exactly = (identity: string): TargetState => ({ is: 'exactly', identity, from: null });
const APPLYING: TargetState = { is: 'applying from', identity: 'S1', from: 'S1', to: 'S2' };
const COPYING: TargetState = { is: 'copying', identity: 'S2', from: null };

const savedAt = (offset: number): SavedExtent => ({
  ...{ offset, length: UNIT, position: null, crc: 0, framePosition: 0 },
});
const writeAt = (offset: number): AnnouncedWrite => ({
  ...{ offset, length: UNIT, zeroes: false, crc: 1, isFlushed: true },
});
const OFFSETS = [0, UNIT, 2 * UNIT];
const SAVED = OFFSETS.map(savedAt);
const WRITES = OFFSETS.map(writeAt);
const PLACE: NonNullable<JournalContents['resumePlace']> = {
  point: { token: TOKEN, changedBytes: UNIT, mismatches: 0, doubts: 0 },
  ...{ length: 500, savedCount: 1, writeCount: 1 },
  written: {
    totals: { frames: 4, dataBytes: 0, zeroBytes: UNIT, discardBytes: 0 },
    ...{ pass: 1, cursor: UNIT, chain: Buffer.alloc(0), length: 500, index: null },
  },
};

function leftBy(note: Partial<ApplyNote> = {}, journal: Partial<JournalContents> = {}): LeftOver {
  const header = { ...undoFor(SIZE, UNIT), base: 'S2', result: 'S1' };
  return {
    note: { log: '/state/journal', snapback: null, before: exactly('S1'), isUndoing: false, ...note },
    journal: { header, saved: SAVED, writes: WRITES, isFinished: false, resumePlace: null, ...journal },
  };
}

function factsOf(facts: Partial<RecoverFacts>): RecoverFacts {
  return {
    ...{ path: PATH, size: SIZE, isFile: false, recoverWords: `lvmsync recover ${PATH}` },
    ...{ holds: APPLYING, left: leftBy() },
    ...{ gap: null, holdsAllBefore: false, obstacle: null },
    ...facts,
  };
}

const ALONE: RecoverRequest = { evenIfChanged: false, next: null };

function before(
  header: Partial<StreamHeader> | null,
  { policy = {}, canContinue = true }: { policy?: Partial<ApplyPolicy>; canContinue?: boolean } = {},
): RecoverRequest & { readonly next: NextStream } {
  const whole =
    header === null
      ? null
      : { ...someHeader(SIZE), blockSize: UNIT, base: 'S1', result: 'S2', expectedBytes: 8192, ...header };
  return { ...ALONE, next: { header: whole, policy: { ...DEFAULT_POLICY, ...policy }, canContinue } };
}

const planOf = (facts: Partial<RecoverFacts>, request: RecoverRequest = ALONE) =>
  planRecovery(request, factsOf(facts));
const stepsOf = (facts: Partial<RecoverFacts>, request: RecoverRequest = ALONE) =>
  planOf(facts, request).steps.map((step) => step.do);
const codesOf = (facts: Partial<RecoverFacts>, request: RecoverRequest = ALONE) =>
  planOf(facts, request).refusals.map(({ code }) => code);

describe('the plan of a recover', () => {
  it('takes an incomplete apply back: the record goes first, the journal last, and the state is known again', () => {
    const { note } = leftBy();
    expect(planOf({})).toEqual({
      found: 'incomplete',
      steps: [
        { do: 'forget the state' },
        { do: 'write back', note, saved: SAVED, over: WRITES, bytes: 3 * UNIT },
        { do: 'drop the journal', note },
        { do: 'record', state: exactly('S1') },
      ],
      ...{ from: 'S2', to: exactly('S1'), refusals: [] },
    });
  });

  it.each([
    ['nothing', null, exactly('S1'), exactly('S1')],
    ['nothing', null, null, null],
    ['half copied', null, COPYING, COPYING],
    ['half written', null, APPLYING, APPLYING],
  ] as const)('finds %s if no apply was interrupted', (found, left, holds, to) => {
    expect(planOf({ left, holds })).toEqual({ found, steps: [], from: null, to, refusals: [] });
  });

  it.each([
    ['has its end', leftBy({}, { isFinished: true })],
    ['has the name of the snapback already', { ...leftBy({ snapback: '/undo/1' }), journal: 'named' }],
  ] as const)('writes nothing to the target if the journal %s', (_, left) => {
    expect(planOf({ left })).toMatchObject({ found: 'complete', to: null, refusals: [] });
    expect(stepsOf({ left })).toEqual(['forget the state', 'finish the journal']);
  });

  it.each<[string, Partial<ApplyNote>, Partial<RecoverFacts>, Partial<RecoverRequest>, TargetState | null]>([
    ['what was known before', {}, {}, {}, exactly('S1')],
    [
      'no more than believed, as someone may have written',
      {},
      { gap: 'unseen' },
      {},
      { ...exactly('S1'), believed: 'unseen' },
    ],
    [
      'no more than believed, as someone wrote',
      {},
      {},
      { evenIfChanged: true },
      { ...exactly('S1'), believed: 'an apply was taken back although someone wrote to it since' },
    ],
    ['still half-copied', { before: COPYING }, { gap: 'unseen' }, {}, COPYING],
    ['what was just found out', {}, {}, { before: exactly('S0') }, exactly('S0')],
    [
      'what the journal names',
      { before: null },
      {},
      {},
      { ...exactly('S1'), believed: 'nothing was known of the target before' },
    ],
  ])('knows afterwards that the target holds %s', (_, note, facts, request, to) => {
    const plan = planOf({ ...facts, left: leftBy(note) }, { ...ALONE, ...request });
    expect(plan.to).toEqual(to);
    expect(plan.steps.at(-1)).toEqual({ do: 'record', state: to });
  });

  it('records nothing if nothing names what the target held', () => {
    const header = { ...undoFor(SIZE, UNIT), base: 'S2', result: null };
    const left = leftBy({ before: null }, { header });
    expect(stepsOf({ left })).toEqual(['forget the state', 'write back', 'drop the journal']);
  });

  it.each([
    ['the journal is lost', new LostJournalError('/state/journal', 0, 'it is gone'), 'FORMAT'],
    ['someone wrote since', new BaseMismatchError(PATH, 0, 'neither old nor new'), 'BASE_MISMATCH'],
  ])('does nothing and says why if %s', (_, obstacle, code) => {
    expect(planOf({ obstacle })).toEqual({
      ...{ found: 'incomplete', steps: [], from: null, to: null, refusals: [obstacle] },
    });
    expect(codesOf({ obstacle }, before({}))).toEqual([code]);
  });
});

describe('the plan of a recover before a stream', () => {
  const obstacle = new LostJournalError('/state/journal', 0, 'it is gone');

  it('gives up a lost journal for a full copy, whatever happens to that copy', () => {
    const state = { is: 'copying', identity: 'S2', from: null };
    expect(planOf({ obstacle }, before({ kind: 'full', base: null }))).toEqual({
      ...{ found: 'incomplete', steps: [{ do: 'give up', state, why: obstacle }] },
      ...{ from: null, to: state, refusals: [] },
    });
    const compared = before({ kind: 'full', base: null, compared: true });
    expect(planOf({ obstacle }, compared)).toMatchObject({ steps: [], refusals: [obstacle] });
  });

  it.each([
    ['is too small for it', {}, {}, SIZE - 512, 'UNSAFE_TARGET'],
    ['must have a snapback', {}, { requireSnapback: true }, SIZE, 'USAGE'],
    ['would be taken back to another base', { base: 'S7', result: 'S8' }, {}, SIZE, 'BASE_MISMATCH'],
  ] as const)('leaves everything as it is if the target %s', (_, header, policy, size, code) => {
    expect(codesOf({ size }, before(header, { policy }))).toEqual([code]);
  });

  it('ignores the recorded base if the user forces it', () => {
    const other = { base: 'S7', result: 'S8' };
    expect(codesOf({}, before(other, { policy: { forceBase: true } }))).toEqual([]);
    expect(codesOf({}, before(null))).toEqual([]);
    expect(codesOf({ left: leftBy({ before: COPYING }) }, before(other))).toEqual([]);
  });

  it('gives the reasons against the stream before the reasons against the way back', () => {
    const small = { size: SIZE - 512, obstacle };
    expect(codesOf(small, before({}))).toEqual(['UNSAFE_TARGET', 'FORMAT']);
    const copy = before({ kind: 'full', base: null });
    expect(codesOf(small, copy)).toEqual(['UNSAFE_TARGET']);
  });

  const left = leftBy({}, { resumePlace: PLACE });

  it('takes back only what came after the last checkpoint if the same stream continues', () => {
    const { note, journal } = left;
    expect(planOf({ left, holdsAllBefore: true }, before({}))).toEqual({
      found: 'incomplete',
      steps: [
        { do: 'write back', note, saved: SAVED.slice(1), over: WRITES.slice(1), bytes: 2 * UNIT },
        { do: 'continue', note, journal, place: PLACE, before: exactly('S1'), bytes: 2 * UNIT },
      ],
      ...{ from: 'S2', to: APPLYING, refusals: [] },
    });
  });

  it('treats what is continued after a gap as believed only', () => {
    const plan = planOf({ left, holdsAllBefore: true, gap: 'unseen' }, before({}));
    expect(plan.steps.at(-1)).toMatchObject({ before: { ...exactly('S1'), believed: 'unseen' } });
  });

  it('takes everything back if the target lacks what was written before the checkpoint', () => {
    expect(stepsOf({ left }, before({}))[1]).toBe('write back');
    expect(planOf({ left }, before({})).to).toEqual(exactly('S1'));
  });

  const inDisorder = leftBy({}, { resumePlace: PLACE, writes: [writeAt(UNIT), writeAt(0), writeAt(UNIT)] });
  const savedLate = leftBy({}, { resumePlace: PLACE, saved: [savedAt(UNIT), savedAt(0)] });
  it.each<[string, Partial<RecoverFacts>, RecoverRequest]>([
    ['no stream follows', {}, ALONE],
    ['its sender cannot be told', {}, before({}, { canContinue: false })],
    ['it is of PROTO[3]', {}, before(null)],
    ['it leads to another state', {}, before({ result: 'S3' })],
    ['it leads to a state without a name', {}, before({ result: null })],
    ['it is no stream of changes', {}, before({ kind: 'undo' })],
    ['the volume has another size', {}, before({ volumeSize: SIZE - UNIT })],
    ['it saves old bytes in another unit', {}, before({ blockSize: 512 })],
    ['it keeps a snapback, and the journal is none', {}, before({}, { policy: { snapback: '/undo/1' } })],
    ['it keeps no journal', {}, before({}, { policy: { journal: false } })],
    ['a recover has begun', { holds: null }, before({})],
    ['no checkpoint was noted', { left: leftBy() }, before({})],
    ['something was written twice', { left: inDisorder }, before({})],
    ['what lies before the checkpoint was saved after it', { left: savedLate }, before({})],
  ])('does not continue if %s', (_, facts, request) => {
    expect(placeToContinue(request, factsOf({ left, ...facts }))).toBeNull();
    expect(placeToContinue(before({}), factsOf({ left }))).toBe(PLACE);
  });

  it('continues a snapback only under its own name', () => {
    const kept = leftBy({ snapback: '/undo/1' }, { resumePlace: PLACE });
    const placeFor = (snapback: string | null) =>
      placeToContinue(before({}, { policy: { snapback } }), factsOf({ left: kept }));
    expect([placeFor('/undo/1'), placeFor('/undo/2'), placeFor(null)]).toEqual([PLACE, null, null]);
  });

  it.each([
    ['the same run', 'run', null, true],
    ['another run', 'other', null, false],
    ['the same run, and someone may have written', 'run', 'unseen', false],
  ] as const)('checks again what is there unless it is surely untouched: %s', (_, run, gap, is) => {
    const ofRun = leftBy({ left: { stamp: 's', run: 'run' } });
    expect(isUntouched(before({ run }), factsOf({ left: ofRun, gap }))).toBe(is);
    expect(isUntouched(before({}), factsOf({ gap }))).toBe(false);
  });
});
