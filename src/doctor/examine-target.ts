import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Spawner } from '../host/spawner.js';
import { stateDirOf, type Surroundings } from '../host/surroundings.js';
import { readNote } from '../journal/apply-note.js';
import { findVolumePath } from '../lvm/volume-path.js';
import { NOTHING_VERIFIED, verifiedBy, type Verified } from '../targets/coverage.js';
import { recordOf, type KnownState, type TargetState } from '../targets/state-record.js';
import { targetKeyOf } from '../targets/target-key.js';
import { noFolder } from './examine-state-dir.js';
import { ok, problem, warning, type Finding, impatient, orSlow } from './finding.js';

/** What a target's record says about it, and what to do about that. */
export interface TargetReport {
  readonly target: string;
  readonly findings: readonly Finding[];
  /** The state in its record, if that is still valid; else null. */
  readonly state: Pick<TargetState, 'is' | 'identity' | 'from'> | null;
  /** Why the state is only believed; null if it is certain, or if nothing is recorded. */
  readonly believed: string | null;
  /** When it was recorded (ISO 8601), or null. */
  readonly recorded: string | null;
  /** How the target got into this state, in words; null if that was not recorded. */
  readonly by: string | null;
  readonly verified: Verified;
  /** The size of the volume that `verified` refers to; null if nothing is verified. Bytes. */
  readonly volumeSize: number | null;
}

const COMPARE = '"lvmsync verify" compares all of it with its source, "lvmsync --scan" sends what differs';

/**
 * Reports what is recorded about a target of this host. Changes nothing, and takes no lock: a run in progress shows as
 * one that has not ended. Never waits long: something that does not answer within seconds is a finding. Throws
 * DeviceError, and UnsafeTargetError if there is no such target.
 */
export async function examineTarget(
  name: string,
  stateDir: string | null,
  { spawner, ...rest }: Pick<Surroundings, 'stateDir' | 'spawner'>,
): Promise<TargetReport> {
  const place = stateDirOf(stateDir, rest);
  const looking = look(name, place, impatient(spawner));
  return await orSlow('target, or its state directory', looking, (slow) => nothingKnown(name, slow));
}

async function look(name: string, stateDir: string, spawner: Spawner): Promise<TargetReport> {
  const { key, realPath, number } = await targetKeyOf(await findVolumePath(name));
  if ((await stat(stateDir).catch(() => null))?.isDirectory() === false)
    return nothingKnown(name, noFolder(stateDir));
  const folder = join(stateDir, 'targets', key);
  const record = recordOf(folder, { realPath, number }, spawner);
  const known = await record.look();
  const { holds, by = null } = known;
  const isUnfinished = (await readNote(folder)) !== null;
  const recorded = (await record.writtenAt())?.toISOString() ?? null;
  const state = holds === null ? null : { is: holds.is, identity: holds.identity, from: holds.from };
  return {
    target: name,
    findings: [
      !isUnfinished && holds?.is === 'applying from' ? HALF_WRITTEN : judgeState(known, recorded, stateDir),
      ...(isUnfinished ? [UNFINISHED] : []),
      ...judgeEvidence(known),
      ...judgeSuspicion(await record.suspicion()),
    ],
    ...{ state, believed: holds?.believed ?? null, recorded, by },
    verified: verifiedBy(holds?.proved),
    volumeSize: holds?.proved?.size ?? null,
  };
}

/** The report for a target whose record cannot be read. */
function nothingKnown(target: string, why: Finding): TargetReport {
  const unknown = { state: null, believed: null, recorded: null, by: null, volumeSize: null };
  return { target, findings: [why], ...unknown, verified: NOTHING_VERIFIED };
}

const UNFINISHED = problem(
  'journal',
  'an apply to it has not ended: it is in progress, or was interrupted',
  'if no apply is in progress: "lvmsync recover" takes the target back, or repeat the transfer to continue',
);

const HALF_WRITTEN = problem(
  'state',
  'half-written: an apply to it without a journal is in progress, or was interrupted',
  'if no apply is in progress: repeat that transfer; nothing can take it back ("lvmsync --scan" makes it whole, too)',
);

function judgeState({ holds, isStale, by }: KnownState, recorded: string | null, stateDir: string): Finding {
  if (isStale) {
    const what = 'someone wrote to it since it was recorded (or it got or lost a snapshot, or was inactive)';
    return warning('state', `not known: ${what}`, COMPARE);
  }
  if (holds === null) {
    const advice =
      'a copy or a scan begins a record, and what leads to a state without a name ends it (a recover cannot bring ' +
      "back a record that was not there); another --state-dir, or another user's, may have one";
    return warning('state', `not known: ${stateDir} has no record of what it holds`, advice);
  }
  const { is, identity } = holds;
  if (is === 'copying')
    return problem('state', `a part of a copy of ${identity}`, 'run "lvmsync copy" again: it goes on');
  const when = recorded === null ? '' : `, recorded at ${recorded}`;
  return ok('state', `${is} ${identity}${when}${by === undefined ? '' : `, brought by ${by}`}`);
}

function judgeSuspicion(found: string | null): Finding[] {
  if (found === null) return [];
  const text = `in doubt, and transfers to it end with exit status 11: ${found}`;
  return [warning('doubt', text, COMPARE)];
}

function judgeEvidence({ holds }: KnownState): Finding[] {
  if (holds === null || holds.is === 'copying') return [];
  if (holds.believed === undefined) return [ok('evidence', 'sure: no gap in what is known of it')];
  const advice = `${COMPARE}; transfers with --audit make sure of it once they have come around`;
  return [warning('evidence', `no more than believed: ${holds.believed}`, advice)];
}
