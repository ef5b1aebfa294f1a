import * as v from 'valibot';
import { endOf, type Extent } from '../bytes/extent.js';

/*
 * Which share of a target was proved, and since when: what `--audit` counts, and what can make a state that was no more
 * than believed one that is sure.
 *
 * A round goes once around the volume, from wherever it began: each run audits the stretch that begins where the last one
 * ended. What lies in a stretch is proved in that run: what the run changes it writes, or finds to be as it wants it,
 * and the rest is compared with the source. The stretches of a round must follow each other without a gap in time as
 * well. The claim is then, of a round that is complete: **the target holds, in every byte, the state that is recorded.**
 * For take any byte. It lay in the stretch of some run of the round, and at that run's end it was what that run led to.
 * Each later run of the round started from the very state that the one before it had led to, or named all changes that
 * any of them had named. So each of them wrote that byte as its own state wants it; or did not name it, and then the two
 * states hold the same there. Between two runs nobody wrote, and within one nobody did either, as the target was held.
 *
 * So a round is broken, and begins anew, by whatever takes one of these away:
 *
 * - someone wrote between two runs, or that cannot be told: another boot, a stamp that cannot see, another device, no
 *   record. `StateRecord.read` says so by knowing nothing, or by `believe`, which drops what was covered;
 * - a run was killed, or was taken back without proof that nobody wrote meanwhile: `believe` again. One that ended in
 *   order is taken back to all that was known before it;
 * - what a run started from is not what was recorded (`follows`); an undo, since it leads somewhere else;
 * - a block was found that nobody of ours wrote, by an audit or by the proof of a change: whoever wrote it may have
 *   written elsewhere, behind the round's back too;
 * - the volume has another size.
 */

const moment = v.nullable(v.string());

export const coverageSchema = v.object({
  /** The volume's, for which the rest is meant. Bytes. */
  size: v.number(),
  /** Where the next audit begins; kept also where all else is dropped, so that each part of a volume gets its turn. */
  position: v.number(),
  /** How many bytes before the position were proved in this round, around the volume's end where it comes to that. */
  covered: v.number(),
  /** When the first run of this round began; null where nothing was covered yet. */
  since: moment,
  /** When the first run of the last whole round began, or the copy that wrote all of it; null where there was none. */
  all: moment,
});

/** How much of a target was proved. */
export type Coverage = Readonly<v.InferOutput<typeof coverageSchema>>;

/** So many bytes of a target were proved, all of them at this time or later; none since null. */
export interface Verified {
  readonly bytes: number;
  readonly since: string | null;
}

export const NOTHING_VERIFIED: Verified = { bytes: 0, since: null };

/** The strongest claim that holds: all of it since the last whole round, or what this round has come to. */
export function verifiedBy(coverage: Coverage | undefined): Verified {
  if (coverage === undefined) return NOTHING_VERIFIED;
  const { size, covered, since, all } = coverage;
  return all === null ? { bytes: covered, since } : { bytes: size, since: all };
}

/** What is left where the chain of evidence has a gap: where to go on. */
export function withoutEvidence({ size, position }: Coverage): Coverage {
  return { size, position, covered: 0, since: null, all: null };
}

/** What a run did, as far as it proves something. */
export interface RunEvidence {
  /** When it began, before it compared or wrote anything: ISO 8601. */
  readonly began: string;
  /** The extent in which it compared all that did not change; null where it did not. */
  readonly audited: Extent | null;
  /** Whether all that it brought and proved came in one session, or in sessions between which surely nobody wrote. */
  readonly isWhole: boolean;
  /** Whether it started from what was recorded, and found nothing that nobody of ours wrote. */
  readonly follows: boolean;
  /** Whether it found such a thing. */
  readonly isContradicted: boolean;
}

/** What of a target is proved after a run, of which this much was proved before it; and whether that ended a round. */
export interface CoverageAfter {
  readonly coverage: Coverage;
  readonly isComplete: boolean;
}

/** After changes, or an undo; null where there is nothing to say. */
export function coverageAfter(
  before: Coverage | undefined,
  size: number,
  { began, audited, isWhole, follows, isContradicted }: RunEvidence,
): CoverageAfter | null {
  if (before === undefined && audited === null) return null;
  const kept = before?.size === size ? before : { ...START, size };
  const isKept = follows && isWhole && !isContradicted;
  const old = isKept ? kept : withoutEvidence(kept);
  if (audited === null) return isEmpty(old) ? null : { coverage: old, isComplete: false };
  const position = endOf(audited) % size;
  if (isContradicted || !isWhole) return { coverage: { ...old, position }, isComplete: false };
  const goesOn = audited.length < size && audited.offset === old.position && old.since !== null;
  const covered = audited.length + (goesOn ? old.covered : 0);
  const since = goesOn ? old.since : began;
  if (covered < size) return { coverage: { ...old, position, covered, since }, isComplete: false };
  return { coverage: { size, position, covered: 0, since: null, all: since }, isComplete: true };
}

/** After a copy that wrote all of a volume; null where nobody noted when it began. */
export function coverageOfAll(size: number, since: string | null): CoverageAfter | null {
  return since === null ? null : { coverage: { size, ...START, all: since }, isComplete: false };
}

function isEmpty({ position, since, all }: Coverage): boolean {
  return position === 0 && since === null && all === null;
}

const START = { position: 0, covered: 0, since: null, all: null };

/** What of a record stays true while a stream is applied. */
export function coverageDuring(before: Coverage | undefined): { proved?: Coverage } {
  return before === undefined ? {} : { proved: withoutEvidence(before) };
}
