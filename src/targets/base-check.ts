import { countOf } from '../bytes/amounts.js';
import { crc32 } from '../bytes/contents.js';
import type { BlockDevice } from '../device/block-device.js';
import { BaseMismatchError } from '../errors.js';
import type { Proof } from '../stream/block.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { STOPPED_PREFIX } from '../usage/write-stamp.js';
import type { TargetState } from './state-record.js';

const HALF_COPIED = 'it holds part of an interrupted copy: run "lvmsync copy" again';

const BEHIND_ITS_BACK =
  'something else wrote to it (or an earlier run wrote blocks that a thin source has discarded since)';

const UNKNOWN_STATE = 'no record says reliably what it holds';
const FROM_A_PIPE =
  'an undo from a pipe cannot be checked against it before the first write: apply it from a file';
const NOTHING_WRITTEN = 'nothing was written';

/** The unit in which messages count a volume's blocks. Bytes. */
const BLOCK = 4096;

/** The parts of a header that say where a stream starts and ends. */
export type StateChange = Pick<StreamHeader, 'kind' | 'base' | 'result' | 'table' | 'mark'>;

/** How many blocks were checked, and how many of them differ from the stream's base. */
export interface LookResult {
  readonly looked: number;
  readonly failed: number;
}

/** The outcome of a sample. */
export interface SampleResult {
  readonly changed: LookResult;
  /** Blocks outside the change set, which are the same in base and result. */
  readonly unchanged: LookResult;
}

/** For a stream without a sample. */
export const NOTHING_SAMPLED: SampleResult = {
  changed: { looked: 0, failed: 0 },
  unchanged: { looked: 0, failed: 0 },
};

/** What is recorded of a target, and what a sample of it showed. */
export interface SeenThere {
  /** Null: nothing is known. */
  readonly state: TargetState | null;
  readonly sample: SampleResult;
}

/**
 * Checks whether a stream may be applied to a target: by the identities of their states if these are known, else by a
 * sample of the target. Throws BaseMismatchError if the target holds another state or another volume.
 *
 * @param untouched what was not written, for the message
 */
export function checkBase(
  target: Pick<BlockDevice, 'path'>,
  header: StateChange,
  seen: SeenThere,
  untouched = NOTHING_WRITTEN,
): void {
  const refusal = whyNotBase(target.path, header, seen, untouched);
  if (refusal !== null) throw refusal;
}

/** The error of a stream that meets another state than its base, or another volume; null if nothing shows that. */
export function whyNotBase(
  path: string,
  header: StateChange,
  { state, sample }: SeenThere,
  untouched = NOTHING_WRITTEN,
): BaseMismatchError | null {
  const problem = findStateMismatch(header, state) ?? findSampleMismatch(header, state, sample);
  return problem === null ? null : refused(path, problem, untouched);
}

/** The error of a stream that is not applied. */
export function refused(path: string, problem: string, untouched = NOTHING_WRITTEN): BaseMismatchError {
  const advice = '"lvmsync --scan" sends whatever differs; --force=base overrides this check';
  return new BaseMismatchError(path, null, `${problem}; ${untouched}. ${advice}`);
}

/** Checks whether a stream that names no base may be applied. Throws BaseMismatchError. */
export function checkUnnamedBase(target: BlockDevice, state: TargetState | null): void {
  const refusal = whyNotUnnamedBase(target.path, state);
  if (refusal !== null) throw refusal;
}

/** The error of a stream that does not say where it starts from; null if it may be applied. */
export function whyNotUnnamedBase(path: string, state: TargetState | null): BaseMismatchError | null {
  if (state?.is !== 'copying') return null;
  return new BaseMismatchError(path, null, `${HALF_COPIED}; ${NOTHING_WRITTEN}`);
}

function findStateMismatch(header: StateChange, state: TargetState | null): string | null {
  const { base, result, kind } = header;
  if (state?.is === 'copying') return kind === 'full' ? null : HALF_COPIED;
  if (kind === 'undo') {
    const verdict = judgeUndo(header, state);
    return verdict.is === 'refused' ? verdict.problem : null;
  }
  if (state === null || base === null) return null;
  if (state.is === 'exactly' && (state.identity === base || state.identity === result)) return null;
  if (state.from === base || state.identity === base)
    return isCovered(header, state) ? null : describeUncovered(base, state);
  // What an apply without a journal left is between two states, and only that apply makes it whole.
  if (state.is === 'applying from') return `${describeHalf(state)}: this stream starts from ${base}`;
  // A snapshot may have been taken of the very state that a stopped origin was in. The contents decide.
  if (state.is !== 'exactly' || state.identity.startsWith(STOPPED_PREFIX)) return null;
  return `it holds ${nameOf(state)}, but the stream starts from ${base}`;
}

/**
 * Whether a stream of changes covers everything that earlier streams from the same base brought to a target: because it
 * comes from the same table, which only grows, or because it is the interrupted stream itself.
 */
export function isCovered({ base, result, table }: StateChange, state: TargetState): boolean {
  if (base === null || state.from !== base) return false;
  if (isCutShort({ base, result }, state)) return true;
  return table !== undefined && state.table?.id === table.id && state.table.entries <= table.entries;
}

/** Whether a target was left halfway between the two states of a stream. */
function isCutShort({ base, result }: Pick<StateChange, 'base' | 'result'>, state: TargetState): boolean {
  return state.is === 'applying from' && state.identity === base && result !== null && state.to === result;
}

function describeHalf(state: TargetState): string {
  return `it holds ${nameOf(state)} that was interrupted, so repeat that one first`;
}

function describeUncovered(base: string, state: TargetState): string {
  return (
    `it holds ${nameOf(state)}, the result of other changes from ${base}: ` +
    'this stream may not cover all of those, so some of them could stay there'
  );
}

/** Whether the target holds the base of an undo, must be proved to hold it first, or holds something else. */
export type UndoVerdict =
  | { readonly is: 'fit' }
  | { readonly is: 'to be proved' }
  | { readonly is: 'refused'; readonly problem: string };

/**
 * Whether an undo may be applied. It is right only for its own base: on any other state, its blocks and the rest of the
 * volume would be from different moments. So it is refused if the record names another state, and if nothing is
 * certain, every extent must be proved.
 *
 * @param isResultSure false if the end of the undo is not read yet: it may say that the result does not deserve its
 * name
 */
export function judgeUndo(
  { base, result, mark }: Pick<StateChange, 'base' | 'result' | 'mark'>,
  state: TargetState | null,
  isResultSure = true,
): UndoVerdict {
  if (state === null) return { is: 'to be proved' };
  // The target already holds its result, or part of it.
  if (result !== null && state.is === 'exactly' && state.identity === result && isResultSure)
    return { is: 'fit' };
  if (base !== null && isCutShort({ base, result }, state)) return { is: 'fit' };
  if (base !== null && state.is === 'exactly' && state.identity === base)
    return { is: state.believed === undefined ? 'fit' : 'to be proved' };
  // An unnamed state is identified by a mark that only the undo of its own transfer has.
  if (base === null && mark !== undefined && state.is === 'since' && state.mark === mark)
    return { is: state.believed === undefined ? 'fit' : 'to be proved' };
  const start = base ?? 'a state without a name, which may not be this one';
  const problem =
    state.is === 'applying from'
      ? `${describeHalf(state)}: this undo starts from ${start}`
      : `it holds ${nameOf(state)}, but the undo starts from ${start}`;
  return { is: 'refused', problem };
}

/** The outcome of checking every extent that an undo would overwrite, with the first offset that fails. Bytes. */
export type BaseProof =
  | { readonly is: 'proved' }
  | { readonly is: 'differs'; readonly offset: number }
  /** The undo does not say what its base holds there. */
  | { readonly is: 'unproved'; readonly offset: number };

/** Compares all extents that an undo would overwrite with what it says about its base. */
export type ProveBase = (target: BlockDevice) => Promise<BaseProof>;

/** What is known of the start of an undo, before the first write. */
export interface UndoStart {
  /** Whether it can be read twice: of one from a pipe nothing can be known before the first write. */
  readonly isReadable: boolean;
  /** What a look at the target found; null if the record decides, or if nothing could be looked at. */
  readonly found: BaseProof | null;
}

/** An undo, as far as its states are judged. */
export type UndoStates = Pick<StateChange, 'base' | 'result' | 'mark'>;

/**
 * Checks that the target holds the base of an undo, in every extent that the undo would overwrite, unless the record
 * says so. Throws BaseMismatchError, and what `prove` throws.
 *
 * @param prove null if the undo can be read only once, so that nothing can be proved before the first write
 */
export async function checkUndo(
  target: BlockDevice,
  undo: UndoStates,
  state: TargetState | null,
  prove: ProveBase | null,
): Promise<void> {
  const start = await findUndoStart(target, undo, state, prove);
  const refusal = whyNotUndo(target.path, undo, { state, ...start });
  if (refusal !== null) throw refusal;
}

/** Looks whether a target holds what an undo starts from, if its record does not decide that. Throws as the look. */
export async function findUndoStart(
  target: BlockDevice,
  undo: UndoStates,
  state: TargetState | null,
  prove: ProveBase | null,
): Promise<UndoStart> {
  if (prove === null) return { isReadable: false, found: null };
  const isOpen = judgeUndo(undo, state).is === 'to be proved';
  return { isReadable: true, found: isOpen ? await prove(target) : null };
}

/** The error of an undo whose target is not in the state that it starts from; null if it is. */
export function whyNotUndo(
  path: string,
  undo: UndoStates,
  { state, isReadable, found }: UndoStart & Pick<SeenThere, 'state'>,
  untouched = NOTHING_WRITTEN,
): BaseMismatchError | null {
  const verdict = judgeUndo(undo, state, isReadable);
  if (verdict.is === 'fit') return null;
  if (verdict.is === 'refused') return refused(path, verdict.problem, untouched);
  if (found === null) return refused(path, `${UNKNOWN_STATE}, and ${FROM_A_PIPE}`, untouched);
  if (found.is === 'proved') return null;
  const what =
    found.is === 'differs'
      ? `it does not hold the base of the undo (byte ${found.offset})`
      : `nothing proves that it holds the base of the undo (byte ${found.offset}): ${UNKNOWN_STATE}`;
  return refused(path, what, untouched);
}

function nameOf({ is, identity }: TargetState): string {
  switch (is) {
    case 'exactly':
      return `exactly ${identity}`;
    case 'since':
      return `${identity} with later changes`;
    case 'applying from':
      return `part of an apply to ${identity}`;
    case 'copying':
      return `part of a copy of ${identity}`;
  }
}

function findSampleMismatch(
  header: StateChange,
  state: TargetState | null,
  sample: SampleResult,
): string | null {
  const { changed, unchanged } = sample;
  if (unchanged.failed > 0) {
    const what = unchanged.failed * 2 > unchanged.looked ? 'it seems to be another volume' : BEHIND_ITS_BACK;
    const share = `${unchanged.failed} of ${countOf(unchanged.looked, 'block')} that did not change`;
    return `${what}: ${share} differ from the source's, and would still differ afterwards`;
  }
  // On a rerun changed blocks differ, too. On a target that was never sent to, few of them do.
  const isKnown = state !== null && (state.identity === header.base || state.from === header.base);
  if (isKnown || unchanged.looked > 0 || changed.failed * 2 <= changed.looked) return null;
  return `it seems to be another volume, or another state of this one: ${changed.failed} of ${countOf(changed.looked, 'block')} differ from the stream's base`;
}

/** Whether a target holds what a proof says. Throws DeviceError. */
export async function holdsProof(target: BlockDevice, proof: Proof): Promise<boolean> {
  const bytes = Buffer.alloc(proof.length);
  await target.readAt(bytes, proof.offset);
  return crc32(bytes) === proof.crc;
}

/** The warning for a target whose record cannot be trusted any more, although nothing contradicts it. */
export function describeGap(path: string, gap: string): string {
  return `${path}: ${gap}, so lvmsync cannot tell whether someone wrote to it since. The changed blocks are checked as always; "lvmsync verify" compares the rest`;
}

/** The warning for a target whose record is stale. */
export function describeStale(path: string, header: StreamHeader | null, unchanged: LookResult): string {
  const who =
    "someone wrote to it since lvmsync's last run (or a snapshot of it was created or removed, or it was inactive)";
  const advice = '"lvmsync verify" compares the rest, "lvmsync verify --audit" a share of it';
  if (header === null || unchanged.looked === 0) {
    return `${path}: ${who}: no block outside the changes was compared; ${advice}`;
  }
  const outside = Math.max(0, header.volumeSize - header.expectedBytes);
  const blocks = Math.max(unchanged.looked, Math.ceil(outside / BLOCK));
  const differ = unchanged.failed === 0 ? 'all of them match' : `${unchanged.failed} differ`;
  return `${path}: ${who}: ${unchanged.looked} of ${countOf(blocks, 'block')} outside the changes were compared, ${differ}; ${advice}`;
}
