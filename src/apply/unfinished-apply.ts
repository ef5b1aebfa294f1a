import { readDurableLength } from '../engine/durable-length.js';
import { BaseMismatchError, LostJournalError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { findGap, refuseOtherDevice } from '../journal/journal-bond.js';
import { openLog, readJournal } from '../journal/journal-reader.js';
import { readNote } from '../journal/apply-note.js';
import { isSettled, type Journal } from '../journal/journal.js';
import { OldBytes } from '../journal/old-bytes.js';
import { checkWrites, holdsAllBefore } from '../journal/written-blocks.js';
import type { ResumePoint } from '../stream/mark-format.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { TargetState } from '../targets/state-record.js';
import {
  isUntouched,
  placeToContinue,
  planRecovery,
  type RecoverFacts,
  type RecoverPlan,
  type RecoverRequest,
  type WriteBack,
} from './plans/plan-recover.js';

/** An unfinished apply, at a place from which the same stream can continue. */
export interface ResumableApply {
  readonly journal: Journal;
  readonly point: ResumePoint;
  /** What was known about the target before the apply began; only believed if someone may have written since. */
  readonly before: TargetState | null;
}

/** Where to report what is left, and the signal that stops the work. */
export type WhoWaits = Pick<Surroundings, 'signal' | 'notice'>;

/**
 * Finds out what an unfinished apply left, and plans what is done about it. Writes nothing. What keeps the old bytes
 * from being written back is in the plan; throws DeviceError, the signal's reason.
 */
export async function findUnfinished(
  target: OpenTarget,
  request: RecoverRequest,
  env: WhoWaits,
): Promise<RecoverPlan> {
  const { path, size, number } = target.device;
  const { holds } = await target.record.read();
  const unknown: Findings = { left: null, gap: null, holdsAllBefore: false, obstacle: null };
  const asTold = { path, size, isFile: number === null, recoverWords: target.recoverWords, holds };
  const read = { ...asTold, ...unknown, ...(await orObstacle(readLeftOver(target, request, env))) };
  const seen = await orObstacle(tellWhereStopped(target, env, () => lookAt(target, request, read, env)));
  return planRecovery(request, { ...read, ...seen });
}

type Findings = Pick<RecoverFacts, 'left' | 'gap' | 'holdsAllBefore' | 'obstacle'>;

async function orObstacle(looking: Promise<Partial<Findings>>): Promise<Partial<Findings>> {
  return await looking.catch((error: unknown) => {
    if (error instanceof LostJournalError || error instanceof BaseMismatchError) return { obstacle: error };
    throw error;
  });
}

/** What the target's folder says. */
async function readLeftOver(
  target: OpenTarget,
  { evenIfChanged, before }: RecoverRequest,
  env: WhoWaits,
): Promise<Partial<Findings>> {
  const note = await readNote(target.folder);
  if (note === null) return {};
  if (!evenIfChanged) await refuseOtherDevice(target, note);
  if (await isSettled(note)) return { left: { note, journal: 'named' } };
  return await tellWhereStopped(target, env, async () => {
    const journal = await readJournal(note.log, await readDurableLength(target.folder), env.signal);
    const isKnown = journal.isFinished || evenIfChanged || before !== undefined;
    return { left: { note, journal }, gap: isKnown ? null : await findGap(target, note) };
  });
}

/** What the target itself holds, as far as that decides what may be written back. */
async function lookAt(
  target: OpenTarget,
  request: RecoverRequest,
  read: RecoverFacts,
  { signal }: WhoWaits,
): Promise<Partial<Findings>> {
  const { device } = target;
  const journal = read.left?.journal ?? 'named';
  if (read.left === null || journal === 'named') return {};
  const place = placeToContinue(request, read);
  const holdsAll =
    place !== null && (isUntouched(request, read) || (await holdsAllBefore(place, device, journal, signal)));
  const { steps, refusals } = planRecovery(request, { ...read, holdsAllBefore: holdsAll });
  const isChecked = refusals.length === 0 && !request.evenIfChanged;
  for (const step of isChecked ? steps : [])
    if (step.do === 'write back') await checkWriteBack(step, target, signal);
  return { holdsAllBefore: holdsAll };
}

/** Throws BaseMismatchError if someone else wrote where old bytes would be written back; DeviceError. */
async function checkWriteBack(
  { note: { log, isUndoing }, saved, over }: WriteBack,
  { device, recoverWords }: OpenTarget,
  signal: AbortSignal,
): Promise<void> {
  const file = await openLog(log);
  try {
    // A crash may have torn what an earlier attempt wrote back, even where the apply was flushed.
    const writes = isUndoing ? over.map((write) => ({ ...write, isFlushed: false })) : over;
    const old = new OldBytes(file, log, saved);
    const advice = `to write the old bytes anyway: ${recoverWords} --force=base (they are in ${log})`;
    await checkWrites(device, { writes, old }, advice, signal);
  } finally {
    await file.close();
  }
}

/** Does the work. If the signal ends it, reports what is left and what to do. */
export async function tellWhereStopped<T>(
  { device, recoverWords }: OpenTarget,
  env: WhoWaits,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (env.signal.aborted)
      env.notice(`${device.path}: still half-written; run "${recoverWords}" to finish taking it back`);
    throw error;
  }
}
