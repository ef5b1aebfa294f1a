import type { BlockDevice } from '../device/block-device.js';
import { Applier } from '../engine/applier.js';
import { BaseMismatchError, describeCause } from '../errors.js';
import { openLog, type SavedExtent } from '../journal/journal-reader.js';
import { noteUndoing } from '../journal/apply-note.js';
import { dropLost, forget, Journal, settleFinished, type Settled } from '../journal/journal.js';
import { OldBytes } from '../journal/old-bytes.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { RECEIVE_MEMORY } from '../memory/budgets.js';
import { BatchFiller, gatherBatches } from '../stream/batches/gather-batches.js';
import type { StreamItem } from '../stream/block.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { TargetState } from '../targets/state-record.js';
import type { NextStream, RecoverPlan, RecoverStep, WriteBack } from './plans/plan-recover.js';
import { findUnfinished, tellWhereStopped, type ResumableApply, type WhoWaits } from './unfinished-apply.js';

/** What a recover found and did. */
export type RecoverOutcome =
  | { readonly kind: 'nothing to do'; readonly stateDir: string }
  /** A full copy to it was interrupted, which cannot be taken back. */
  | { readonly kind: 'half copied' }
  /** An apply without a journal was interrupted. */
  | { readonly kind: 'half written' }
  /** The apply was complete: the target holds its result. */
  | ({ readonly kind: 'holds the result' } & Settled)
  /** The target was taken back to what it held before the apply. Bytes. */
  | { readonly kind: 'taken back'; readonly bytes: number }
  /** It was taken back to the last checkpoint of the apply, which continues there. Bytes. */
  | { readonly kind: 'resumable'; readonly apply: ResumableApply; readonly bytes: number }
  /** It cannot be taken back, and the stream that comes next overwrites everything. */
  | { readonly kind: 'given up'; readonly why: string };

export interface RecoverOptions {
  /** Write the old bytes back even if someone else wrote since. */
  readonly evenIfChanged?: boolean;
  /** What the target held before the apply, if that was just found out. */
  readonly before?: TargetState | null;
}

/** The outcome of an unfinished earlier apply, in words. */
export function describeRecovery(path: string, outcome: RecoverOutcome): string {
  switch (outcome.kind) {
    case 'nothing to do':
      return `${path}: nothing to recover: ${outcome.stateDir} has no record of an interrupted apply to it. This says nothing about a run with another --state-dir, or of another user: for such a run, repeat this with its --state-dir`;
    case 'half copied':
    case 'half written':
      return noWayBack(path, outcome.kind).message;
    case 'holds the result':
      return `${path}: the earlier apply was complete: it holds the result${outcome.problem === null ? '' : `; ${outcome.problem}`}`;
    case 'taken back':
      return `${path}: the earlier apply was incomplete: taken back to what it held before (${outcome.bytes} bytes)`;
    case 'resumable':
      return `${path}: the earlier apply was incomplete: taken back to its last checkpoint (${outcome.bytes} bytes)`;
    case 'given up':
      return `${outcome.why}; this run overwrites the whole target`;
  }
}

/** The error of a target that nothing can take back. */
export function noWayBack(path: string, kind: 'half copied' | 'half written'): BaseMismatchError {
  const problem =
    kind === 'half copied'
      ? 'it holds part of an interrupted copy, which cannot be taken back: run "lvmsync copy" again'
      : 'half-written by an apply without a journal, which cannot be taken back: run that transfer again, or "lvmsync --scan"';
  return new BaseMismatchError(path, null, problem);
}

/** A plan in words, for a user who only asks. Throws where nothing can take the target back. */
export function describeRecoverPlan(target: OpenTarget, { found, steps, from, to }: RecoverPlan): string {
  const { path } = target.device;
  if (found === 'half copied' || found === 'half written') throw noWayBack(path, found);
  if (found === 'nothing') return describeRecovery(path, asFound(found, target));
  const [finish] = steps.filter((step) => step.do === 'finish the journal');
  const [back] = steps.filter((step) => step.do === 'write back');
  if (back === undefined) {
    const name = finish?.note.snapback ?? null;
    const rest = name === null ? 'its journal would be removed' : `its snapback would be called ${name}`;
    return `dry run: ${path}: the earlier apply was complete: it holds the result; ${rest}; nothing was written`;
  }
  const goal = from === null ? '' : ` to state ${from}`;
  const state = to === null ? '' : `, state ${to.identity}`;
  return (
    `dry run: ${path}: the earlier apply${goal} was incomplete: it would be taken back to what it held before${state} ` +
    `(${back.bytes} bytes); nothing was written`
  );
}

/**
 * Takes a target back to what it held before an unfinished apply, or finds that the apply was complete. Can be
 * repeated: after a crash, run it again.
 *
 * Throws BaseMismatchError, before any write, if the journal belongs to another device, or someone wrote since: the
 * target's stamp changed, or a block is neither old nor new. Throws UnsafeTargetError if someone else used the target
 * meanwhile: it can be run again once that has ended. Throws LostJournalError if the journal is missing or damaged,
 * DeviceError, the signal's reason: a notice then says what is left.
 */
export async function recoverTarget(
  target: OpenTarget,
  env: WhoWaits,
  { evenIfChanged = false, before }: RecoverOptions = {},
): Promise<RecoverOutcome> {
  const request = { evenIfChanged, next: null, ...(before === undefined ? {} : { before }) };
  return await carryOut(await findUnfinished(target, request, env), target, env);
}

/**
 * Deals with an unfinished apply before a stream is applied. If it was of the same stream, takes the target back to the
 * last place from which the stream can continue, else all the way. Throws as `recoverTarget`, and if the stream must
 * not be applied to what the target would be taken back to.
 */
export async function settleEarlierApply(
  target: OpenTarget,
  next: NextStream,
  env: WhoWaits,
): Promise<RecoverOutcome> {
  return await carryOut(await findUnfinished(target, { evenIfChanged: false, next }, env), target, env);
}

/** Carries a plan out, step by step. Throws its first refusal, before anything is written. */
async function carryOut(
  { found, steps, refusals }: RecoverPlan,
  target: OpenTarget,
  env: WhoWaits,
): Promise<RecoverOutcome> {
  const [refusal] = refusals;
  if (refusal !== undefined) throw refusal;
  let outcome = asFound(found, target);
  await tellWhereStopped(target, env, async () => {
    for (const step of steps) outcome = (await take(step, target, env)) ?? outcome;
  });
  return outcome;
}

/** What becomes of a target for which there is nothing to do. */
function asFound(found: RecoverPlan['found'], { stateDir }: OpenTarget): RecoverOutcome {
  return found === 'half copied' || found === 'half written'
    ? { kind: found }
    : { kind: 'nothing to do', stateDir };
}

/** How a target got into a state by a recover, in words after "by". */
const TAKEN_BACK = 'taking an interrupted apply back';

/** Takes one step. Returns what became of the target, or null if the step does not decide that. */
async function take(step: RecoverStep, target: OpenTarget, env: WhoWaits): Promise<RecoverOutcome | null> {
  const { device, folder, record } = target;
  switch (step.do) {
    case 'forget the state':
      await record.forget();
      return null;
    case 'write back':
      await noteUndoing(folder);
      await writeBack(device, step, env.signal);
      return { kind: 'taken back', bytes: step.bytes };
    case 'drop the journal':
      await target.checkStillAlone();
      await forget(folder, step.note);
      return null;
    case 'record':
      await record.write(step.state, null, null, TAKEN_BACK).catch((error: unknown) => {
        const problem = `taken back, but that could not be recorded (${describeCause(error)})`;
        env.notice(`${device.path}: ${problem}: the next run checks its contents instead`);
      });
      return null;
    case 'continue': {
      const { note, place, before, bytes } = step;
      const journal = await Journal.continue(folder, note, { ...step.journal, place });
      return { kind: 'resumable', apply: { journal, point: place.point, before }, bytes };
    }
    case 'finish the journal':
      return { kind: 'holds the result', ...(await settleFinished(folder, step.note)) };
    case 'give up':
      await record.write(step.state);
      await dropLost(folder);
      return { kind: 'given up', why: step.why.message };
  }
}

async function writeBack(
  target: BlockDevice,
  { note, saved }: WriteBack,
  signal: AbortSignal,
): Promise<void> {
  const applier = new Applier(target);
  const file = await openLog(note.log);
  try {
    const old = new OldBytes(file, note.log, saved);
    const filler = new BatchFiller(new BufferPool(RECEIVE_MEMORY).lend);
    for await (const batch of gatherBatches(readOld(saved, old, filler, signal), filler)) {
      if (!('batch' in batch)) continue;
      await applier.apply(batch.batch);
    }
    await applier.finish();
  } catch (error) {
    await applier.abandon();
    await target.flush().catch(() => undefined);
    throw error;
  } finally {
    await file.close();
  }
}

async function* readOld(
  saved: readonly SavedExtent[],
  old: OldBytes,
  { lend }: BatchFiller,
  signal: AbortSignal,
): AsyncGenerator<StreamItem> {
  for (const extent of saved) {
    signal.throwIfAborted();
    const { offset, length } = extent;
    if (extent.position === null) yield { kind: 'zero', offset, length };
    else {
      const bytes = await old.read(extent);
      const data = await lend(length);
      data.bytes.set(bytes);
      yield { kind: 'data', offset, length, data };
    }
  }
}
