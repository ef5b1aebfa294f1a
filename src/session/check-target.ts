import type { BlockDevice } from '../device/block-device.js';
import { UnsafeTargetError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { isOverwriting, keepsOldBytes, type ApplyPolicy } from '../target/apply-policy.js';
import {
  checkBase,
  checkUnnamedBase,
  describeStale,
  NOTHING_SAMPLED,
  type SampleResult,
} from '../target/base-check.js';
import { checkJournalRoom, checkSnapbackName } from '../target/journal.js';
import type { OpenTarget } from '../target/open-target.js';
import { guardRoom } from '../target/room.js';
import type { ExpectedWrites } from '../target/room-needed.js';
import type { KnownState } from '../target/state-record.js';
import { checkCloserSample, checkSample } from './check-sample.js';
import type { IncomingItems } from './incoming-items.js';

const SECTOR = 512;

/** A target that a stream is meant for. */
export interface TargetOfStream {
  /** What the stream is called in messages. */
  readonly what: string;
  readonly target: OpenTarget;
  readonly policy: ApplyPolicy;
}

/**
 * Everything that can be known before the first write, with the sender's help where there is one.
 *
 * @param savedBefore old bytes that an earlier session of the same apply saved
 * @param ready awaited when the target was found fit, with what is known of it
 */
export async function checkTarget(
  header: StreamHeader | null,
  items: IncomingItems,
  { what, target, policy }: TargetOfStream,
  savedBefore: number,
  about: Surroundings,
  ready: (known: KnownState) => Promise<void>,
): Promise<void> {
  const { device, record, folder } = target;
  const known = await record.read();
  let sample = NOTHING_SAMPLED;
  if (header === null) {
    if (!policy.forceBase) checkUnnamedBase(device, known.holds);
  } else {
    checkSize(header, device);
    sample = await checkSample(header, items, device, what);
    if (!policy.forceBase) checkBase(device, header, known.holds, sample);
  }
  // A run that writes looks at them as it makes the file.
  if (policy.dryRun && policy.snapback !== null) await checkSnapbackName(folder, policy.snapback);
  await guardRoom(device, expectedWrites(header, device.size), about.spawner);
  if (header !== null && keepsOldBytes(policy, header)) {
    const toSave = Math.max(0, header.expectedBytes - savedBefore);
    await checkJournalRoom(policy.snapback ?? `${folder}/journal`, toSave);
  }
  await ready(known);
  if (known.isStale && !isOverwriting(header))
    await checkStale(header, items, sample, { target, policy }, about);
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

/** Where someone may have written, the sender proves more blocks that did not change; the rest is the user's to know. */
async function checkStale(
  header: StreamHeader | null,
  items: IncomingItems,
  sample: SampleResult,
  { target: { device }, policy }: Omit<TargetOfStream, 'what'>,
  about: Surroundings,
): Promise<void> {
  const closer = await checkCloserSample(items, device).catch((error: unknown) => {
    about.notice(`${device.path}: nothing was written to it`);
    throw error;
  });
  // Not both together: the same blocks may be in either.
  const unchanged = closer.looked > 0 ? closer : sample.unchanged;
  if (header !== null && !policy.forceBase) checkBase(device, header, null, { ...sample, unchanged });
  // All of what was compared was looked at.
  if (header?.compared !== true) about.notice(describeStale(device.path, header, unchanged));
}
