import { SECTOR } from '../bytes/extent.js';
import type { BlockDevice } from '../device/block-device.js';
import { UnsafeTargetError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { checkJournalRoom, checkSnapbackName } from '../journal/journal.js';
import type { IncomingItems } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { isOverwriting, keepsOldBytes, type ApplyPolicy } from '../targets/apply-policy.js';
import {
  checkBase,
  checkUndo,
  checkUnnamedBase,
  describeGap,
  describeStale,
  NOTHING_SAMPLED,
  type ProveBase,
  type SampleResult,
} from '../targets/base-check.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { ExpectedWrites } from '../targets/room-needed.js';
import { guardRoom } from '../targets/room.js';
import { isDoubtful, type KnownState } from '../targets/state-record.js';
import { checkCloserSample, checkSample } from './check-sample.js';

/** A target that a stream is meant for. */
export interface TargetOfStream {
  /** What the stream is called in messages. */
  readonly what: string;
  readonly target: OpenTarget;
  readonly policy: ApplyPolicy;
  /** Holds all that an undo would overwrite against what it says of its base; without it, nothing can. */
  readonly proveBase?: ProveBase;
  /** What an undo leads to, by its end too: its header may name what it then turned out not to be. */
  readonly resultOf?: () => Promise<string | null>;
}

/** What an earlier apply to the same target left. */
export interface EarlierHere {
  /** Old bytes that an earlier session of the same apply saved. */
  readonly savedBefore: number;
  /** Whether old bytes were written back to the target just now. */
  readonly isTakenBack: boolean;
}

/**
 * Everything that can be known before the first write, with the sender's help where there is one.
 *
 * @param ready awaited when the target was found fit, with what is known of it
 */
export async function checkTarget(
  header: StreamHeader | null,
  items: IncomingItems,
  { what, target, policy, proveBase, resultOf }: TargetOfStream,
  { savedBefore, isTakenBack }: EarlierHere,
  about: Surroundings,
  ready: (known: KnownState) => Promise<void>,
): Promise<void> {
  const { device, record, folder } = target;
  const known = await record.read();
  const untouched = isTakenBack ? 'nothing else was written' : 'nothing was written';
  let sample = NOTHING_SAMPLED;
  if (header === null) {
    if (!policy.forceBase) checkUnnamedBase(device, known.holds);
  } else {
    checkSize(header, device);
    sample = await checkSample(header, items, device, what);
    if (!policy.forceBase) {
      const isAsked = header.kind === 'undo' && resultOf !== undefined;
      const change = isAsked ? { ...header, result: await resultOf() } : header;
      checkBase(device, change, known.holds, sample, untouched);
      if (header.kind === 'undo') await checkUndo(device, change, known.holds, proveBase ?? null, untouched);
    }
  }
  // A run that writes looks at them as it makes the file.
  if (policy.dryRun && policy.snapback !== null) await checkSnapbackName(folder, policy.snapback);
  await guardRoom(device, expectedWrites(header, device.size), about);
  if (header !== null && keepsOldBytes(policy, header)) {
    const toSave = Math.max(0, header.expectedBytes - savedBefore);
    await checkJournalRoom(policy.snapback ?? `${folder}/journal`, toSave);
  }
  await ready(known);
  if (known.gap !== undefined && header?.kind !== 'full') about.notice(describeGap(device.path, known.gap));
  if (wantsCloserLook(known) && !isOverwriting(header))
    await lookCloser(header, items, sample, known, { target, policy }, untouched, about);
}

/** What a stream says that it is going to write; of PROTO[3], which does not say, the least that it can be. */
function expectedWrites(header: StreamHeader | null, targetSize: number): ExpectedWrites {
  if (header === null) return { bytes: SECTOR, blockSize: SECTOR, volumeSize: targetSize };
  const { expectedBytes: bytes, mappedBytes = bytes, blockSize, volumeSize } = header;
  return { bytes, mappedBytes, blockSize, volumeSize };
}

function checkSize(header: StreamHeader, target: BlockDevice): void {
  if (header.volumeSize <= target.size) return;
  const problem = `too small: it has ${target.size} bytes, the volume ${header.volumeSize}`;
  throw new UnsafeTargetError(target.path, problem);
}

/** Whether a sender shall prove more of what did not change: nothing says for sure what is there. */
export function wantsCloserLook({ holds, isStale }: KnownState): boolean {
  return isStale || isDoubtful(holds);
}

/** Where someone may have written, the sender proves more blocks that did not change; the rest is the user's to know. */
async function lookCloser(
  header: StreamHeader | null,
  items: IncomingItems,
  sample: SampleResult,
  { isStale }: KnownState,
  { target: { device }, policy }: Omit<TargetOfStream, 'what'>,
  untouched: string,
  about: Surroundings,
): Promise<void> {
  const closer = await checkCloserSample(items, device).catch((error: unknown) => {
    about.notice(`${device.path}: ${untouched} to it`);
    throw error;
  });
  // Not both together: the same blocks may be in either.
  const unchanged = closer.looked > 0 ? closer : sample.unchanged;
  if (header !== null && !policy.forceBase)
    checkBase(device, header, null, { ...sample, unchanged }, untouched);
  // All of what was compared was looked at.
  if (isStale && header?.compared !== true) about.notice(describeStale(device.path, header, unchanged));
}
