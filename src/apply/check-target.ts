import { SECTOR } from '../bytes/extent.js';
import { InterruptedError, LvmsyncError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { checkJournalRoom, checkSnapbackName } from '../journal/journal.js';
import type { IncomingItems } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { keepsOldBytes, type ApplyPolicy } from '../targets/apply-policy.js';
import {
  checkBase,
  describeStale,
  findUndoStart,
  whyNotBase,
  NOTHING_SAMPLED,
  type ProveBase,
  type StateChange,
} from '../targets/base-check.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { ExpectedWrites } from '../targets/room-needed.js';
import { guardRoom } from '../targets/room.js';
import { checkCloserSample, checkSample } from './check-sample.js';
import { planApply, type ApplyFacts, type ApplyPlan } from './plans/plan-apply.js';

/** A target that a stream is meant for. */
export interface TargetOfStream {
  /** What the stream is called in messages. */
  readonly what: string;
  readonly target: OpenTarget;
  readonly policy: ApplyPolicy;
  /**
   * Compares all that an undo would overwrite with what the undo says about its base; without it, that cannot be
   * compared.
   */
  readonly proveBase?: ProveBase;
  /** The result of an undo according to its end: the name in its header may have turned out to be wrong. */
  readonly resultOf?: () => Promise<string | null>;
  /** Whether only the plan is asked for. */
  readonly asks?: boolean;
}

/** What an earlier apply to the same target left. */
export interface EarlierHere {
  /** How many old bytes an earlier session of the same apply saved. */
  readonly savedBefore: number;
  /** Whether old bytes were written back to the target just now. */
  readonly isTakenBack: boolean;
}

/** A plan, and what it was made of. */
export interface Planned {
  readonly plan: ApplyPlan;
  readonly facts: ApplyFacts;
}

/** A stream whose header was read, and nothing behind it. */
export interface StreamInHand {
  /** Null in PROTO[3]. */
  readonly header: StreamHeader | null;
  readonly items: IncomingItems;
}

/**
 * Gathers all that can be known before the first write, with the sender's help where there is one, and plans the apply.
 * Writes nothing. Throws what reading the stream and the target throws.
 */
export async function planFor(
  { header, items }: StreamInHand,
  options: TargetOfStream,
  earlier: EarlierHere,
  env: Surroundings,
): Promise<Planned> {
  const { what, target, policy, proveBase = null } = options;
  const { device, record } = target;
  const known = await record.read();
  const fits = header === null || header.volumeSize <= device.size;
  const sample = fits && header !== null ? await checkSample(header, items, device, what) : NOTHING_SAMPLED;
  const change = await changeOf(header, options);
  const isOfBase =
    change !== null && whyNotBase(device.path, change, { state: known.holds, sample }) === null;
  const facts: ApplyFacts = {
    ...{ path: device.path, size: device.size, isFile: device.number === null, known, sample },
    isTakenBack: earlier.isTakenBack,
    undo:
      fits && isOfBase && change.kind === 'undo' && !policy.forceBase
        ? await findUndoStart(device, change, known.holds, proveBase)
        : { isReadable: proveBase !== null, found: null },
    shortages: fits ? await findShortages(header, options, earlier, env) : [],
  };
  return { plan: planApply({ header, policy, change }, facts), facts };
}

/** The states that a stream starts from and leads to; of an undo, what its end says counts too. */
async function changeOf(
  header: StreamHeader | null,
  { policy, resultOf }: TargetOfStream,
): Promise<StateChange | null> {
  if (header?.kind !== 'undo' || policy.forceBase || resultOf === undefined) return header;
  return { ...header, result: await resultOf() };
}

/** What cannot take the stream in: what lies below the target, and the place of the old bytes. */
async function findShortages(
  header: StreamHeader | null,
  { target, policy, asks = false }: TargetOfStream,
  { savedBefore }: EarlierHere,
  env: Surroundings,
): Promise<LvmsyncError[]> {
  const { device, folder } = target;
  const { snapback } = policy;
  const found: LvmsyncError[] = [];
  const note = async (check: Promise<void>) => {
    await check.catch((error: unknown) => {
      if (!(error instanceof LvmsyncError) || error instanceof InterruptedError) throw error;
      found.push(error);
    });
  };
  // A run that writes looks at the name as it makes the file.
  if (asks && snapback !== null) await note(checkSnapbackName(folder, snapback));
  await note(guardRoom(device, expectedWrites(header, device.size), env));
  if (header !== null && keepsOldBytes(policy, header)) {
    const toSave = Math.max(0, header.expectedBytes - savedBefore);
    await note(checkJournalRoom(snapback ?? `${folder}/journal`, toSave));
  }
  return found;
}

/** What a stream announces that it will write. PROTO[3] does not announce anything: assume the least possible. */
function expectedWrites(header: StreamHeader | null, targetSize: number): ExpectedWrites {
  if (header === null) return { bytes: SECTOR, blockSize: SECTOR, volumeSize: targetSize };
  const { expectedBytes: bytes, mappedBytes = bytes, blockSize, volumeSize } = header;
  return { bytes, mappedBytes, blockSize, volumeSize };
}

/** A stream and the target that it meets. */
export interface StreamMeetsTarget extends Pick<TargetOfStream, 'target' | 'policy'> {
  /** Null in PROTO[3]. */
  readonly header: StreamHeader | null;
}

/**
 * Holds more blocks that did not change against the target; what was not looked at is the user's to know. Throws
 * BaseMismatchError.
 */
export async function lookCloser(
  { facts }: Planned,
  items: IncomingItems,
  { header, target: { device }, policy }: StreamMeetsTarget,
  env: Surroundings,
): Promise<void> {
  const untouched = facts.isTakenBack ? 'nothing else was written' : 'nothing was written';
  const closer = await checkCloserSample(items, device).catch((error: unknown) => {
    env.notice(`${device.path}: ${untouched} to it`);
    throw error;
  });
  // Not the sum of both: they may contain the same blocks.
  const unchanged = closer.looked > 0 ? closer : facts.sample.unchanged;
  if (header !== null && !policy.forceBase)
    checkBase(device, header, { state: null, sample: { ...facts.sample, unchanged } }, untouched);
  // A comparison has already checked every block.
  if (facts.known.isStale && header?.compared !== true)
    env.notice(describeStale(device.path, header, unchanged));
}
