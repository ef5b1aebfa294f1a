import * as v from 'valibot';
import { endOf, type Extent } from '../bytes/extent.js';

/*
 * How much of a target was proved, and since when. `--audit` adds to it, and a complete round makes a state that was
 * only believed a sure one.
 *
 * A round goes once around the volume, starting anywhere: each run audits the stretch that begins where the last one
 * ended. Everything in a stretch is proved in that run: the changes are written, or found to be there already, and the
 * rest is compared with the source. The stretches of a round must follow each other without a gap, also in time. A
 * complete round proves: **every byte of the target is as in the recorded state.** Proof, for any byte: it was in the
 * stretch of one run of the round, and when that run ended it was as in that run's result. Each later run of the round
 * started from exactly the result of the run before it, or covered all changes that any of them had covered. So each
 * later run either wrote that byte as in its own result, or did not cover it, and then the byte is the same in both
 * states. No one else wrote between two runs, or during a run, because the target was locked.
 *
 * So a round is broken and starts again if one of these conditions fails:
 *
 * - someone wrote between two runs, or may have: another boot, a stamp that does not see every write, another device,
 *   no record. Then `StateRecord.read` knows nothing, or calls `believe`, which drops the coverage;
 * - a run was killed, or was taken back without proof that no one else wrote meanwhile: `believe` again. After a run
 *   that ended in order, taking it back restores everything that was known before it;
 * - what a run started from is not what was recorded (`follows`); an undo, since it leads somewhere else;
 * - an audit or the proof of a change found a block that lvmsync did not write: the other program may have written
 *   elsewhere, too, also in stretches that were already audited;
 * - the volume has another size.
 */

const moment = v.nullable(v.string());

export const coverageSchema = v.object({
  /** The size of the volume that the other fields are about. Bytes. */
  size: v.number(),
  /**
   * Where the next audit begins. Kept even if everything else is dropped, so that each part of a volume gets its turn.
   */
  position: v.number(),
  /** How many bytes before the position were proved in this round; may wrap around the volume's end. */
  covered: v.number(),
  /** When the first run of this round began; null: nothing is covered yet. */
  since: moment,
  /**
   * When the first run of the last complete round began, or the copy that wrote the whole volume; null: neither
   * happened.
   */
  all: moment,
});

/** How much of a target was proved. */
export type Coverage = Readonly<v.InferOutput<typeof coverageSchema>>;

/** How many bytes of a target were proved, all of them at this time or later; null: no bytes. */
export interface Verified {
  readonly bytes: number;
  readonly since: string | null;
}

export const NOTHING_VERIFIED: Verified = { bytes: 0, since: null };

/** The strongest valid claim: the whole volume since the last complete round, or what this round has proved so far. */
export function verifiedBy(coverage: Coverage | undefined): Verified {
  if (coverage === undefined) return NOTHING_VERIFIED;
  const { size, covered, since, all } = coverage;
  return all === null ? { bytes: covered, since } : { bytes: size, since: all };
}

/** What is left after a gap in the chain of evidence: the position at which to continue. */
export function withoutEvidence({ size, position }: Coverage): Coverage {
  return { size, position, covered: 0, since: null, all: null };
}

/** What a run did, as far as it proves something. */
export interface RunEvidence {
  /** When it began, before it compared or wrote anything: ISO 8601. */
  readonly began: string;
  /** The extent in which it compared everything that did not change; null: no audit. */
  readonly audited: Extent | null;
  /** Whether everything came in one session, or in sessions between which surely no one else wrote. */
  readonly isWhole: boolean;
  /** Whether it started from what was recorded, and found no foreign bytes. */
  readonly follows: boolean;
  /** Whether it found foreign bytes. */
  readonly isContradicted: boolean;
}

/** How much of a target is proved after a run, and whether the run completed a round. */
export interface CoverageAfter {
  readonly coverage: Coverage;
  readonly isComplete: boolean;
}

/** The coverage after changes or an undo; null: nothing to record. */
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

/** The coverage after a copy that wrote a whole volume; null: the time at which it began is not known. */
export function coverageOfAll(size: number, since: string | null): CoverageAfter | null {
  return since === null ? null : { coverage: { size, ...START, all: since }, isComplete: false };
}

function isEmpty({ position, since, all }: Coverage): boolean {
  return position === 0 && since === null && all === null;
}

const START = { position: 0, covered: 0, since: null, all: null };

/** The coverage that stays true during an apply. */
export function coverageDuring(before: Coverage | undefined): { proved?: Coverage } {
  return before === undefined ? {} : { proved: withoutEvidence(before) };
}
