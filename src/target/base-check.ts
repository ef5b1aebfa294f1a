import { crc32 } from 'node:zlib';
import type { BlockDevice } from '../device/block-device.js';
import { BaseMismatchError } from '../errors.js';
import type { Proof } from '../stream/frame-format.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { STOPPED_PREFIX, type TargetState } from './state-record.js';

const HALF_COPIED = 'it holds a part of a copy that was cut short: run "lvmsync copy" again';

const BEHIND_ITS_BACK =
  'written to behind the source’s back (or by an earlier run, with what a thin source discarded since)';

/** In what a volume is counted for users. Bytes. */
const BLOCK = 4096;

/** From which state what leads where. */
export type StateChange = Pick<StreamHeader, 'kind' | 'base' | 'result'>;

/** How many blocks were looked at, and how many of them were not as the stream's base says. */
export interface LookResult {
  readonly looked: number;
  readonly failed: number;
}

/** What a sample found. */
export interface SampleResult {
  readonly changed: LookResult;
  /** Of blocks outside the change set, which base and result share. */
  readonly unchanged: LookResult;
}

/** Of a stream without a sample. */
export const NOTHING_SAMPLED: SampleResult = {
  changed: { looked: 0, failed: 0 },
  unchanged: { looked: 0, failed: 0 },
};

/**
 * Whether a stream may be applied to a target: by the identities of the two states where they are known, else by
 * what a sample of the target holds. Throws BaseMismatchError where the target is another state, or another
 * volume.
 */
export function checkBase(
  target: Pick<BlockDevice, 'path'>,
  header: StateChange,
  state: TargetState | null,
  sample: SampleResult,
): void {
  const problem = findStateMismatch(header, state) ?? findSampleMismatch(header, state, sample);
  if (problem === null) return;
  throw new BaseMismatchError(
    target.path,
    null,
    `${problem}; nothing was written. "lvmsync --scan" sends whatever differs; if you know better: --force=base`,
  );
}

/** Whether a stream that does not say where it starts from may be applied. Throws BaseMismatchError. */
export function checkUnnamedBase(target: BlockDevice, state: TargetState | null): void {
  if (state?.is === 'copying')
    throw new BaseMismatchError(target.path, null, `${HALF_COPIED}; nothing was written`);
}

function findStateMismatch(header: StateChange, state: TargetState | null): string | null {
  const { base, result, kind } = header;
  if (state?.is === 'copying') return kind === 'full' ? null : HALF_COPIED;
  if (state === null || base === null || state.identity === base) return null;
  // A rerun: what it brings is there already, or was when it came for the first time.
  if (state.from === base) return null;
  if (state.is === 'exactly' && state.identity === result) return null;
  const isLoose = state.is !== 'exactly' || state.identity.startsWith(STOPPED_PREFIX);
  // A snapshot can have been made of just the state that a stopped origin was in: contents decide.
  if (kind !== 'undo' && isLoose) return null;
  return `it holds ${state.is} ${state.identity}, while the stream starts from ${base}`;
}

function findSampleMismatch(
  header: StateChange,
  state: TargetState | null,
  sample: SampleResult,
): string | null {
  const { changed, unchanged } = sample;
  if (unchanged.failed > 0) {
    const what = unchanged.failed * 2 > unchanged.looked ? 'another volume' : BEHIND_ITS_BACK;
    const share = `${unchanged.failed} of ${unchanged.looked} blocks that did not change`;
    return `${what}: ${share} differ from the source's, and would still differ afterwards`;
  }
  // Changed blocks differ on a rerun, too; but not all of them on a target that nothing was sent to.
  const isKnown = state !== null && (state.identity === header.base || state.from === header.base);
  if (isKnown || unchanged.looked > 0 || changed.failed * 2 <= changed.looked) return null;
  return `another volume, or another state of it: ${changed.failed} of ${changed.looked} blocks differ from the stream's base`;
}

/** Whether a target holds what a proof says. Throws DeviceError. */
export async function holdsProof(target: BlockDevice, proof: Proof): Promise<boolean> {
  const bytes = Buffer.alloc(proof.length);
  await target.readAt(bytes, proof.offset);
  return crc32(bytes) === proof.crc;
}

/** What a user must know of a target whose record is stale. */
export function describeStale(path: string, header: StreamHeader | null, unchanged: LookResult): string {
  const who = "written by someone since lvmsync's last run (or it got or lost a snapshot, or was inactive)";
  const advice = '"lvmsync verify" compares the rest, "lvmsync verify --audit" a share of it';
  if (header === null || unchanged.looked === 0) {
    return `${path}: ${who}: no block outside the changes was compared; ${advice}`;
  }
  const outside = Math.max(0, header.volumeSize - header.expectedBytes);
  const blocks = Math.max(unchanged.looked, Math.ceil(outside / BLOCK));
  const differ = unchanged.failed === 0 ? 'none differs' : `${unchanged.failed} differ`;
  return `${path}: ${who}: ${unchanged.looked} of ${blocks} blocks outside the changes were compared, ${differ}; ${advice}`;
}
