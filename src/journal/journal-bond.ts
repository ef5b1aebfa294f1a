import { BaseMismatchError } from '../errors.js';
import type { OpenTarget } from '../targets/open-target.js';
import { describeIdentity, isSameDevice } from '../usage/device-identity.js';
import { compareStamps } from '../usage/write-stamp.js';
import type { ApplyNote } from './apply-note.js';

/*
 * A journal belongs to one device and one moment: it holds the old bytes of the device that an apply wrote, and is
 * valid as long as no one else writes there. The bytes alone do not show who wrote them.
 */

const UNSEEN = 'an apply to it was interrupted, and lvmsync cannot tell whether someone wrote to it since';

/**
 * Throws BaseMismatchError if a journal belongs to another device than the one that has the target's path now. Throws
 * DeviceError.
 */
export async function refuseOtherDevice(target: OpenTarget, note: ApplyNote): Promise<void> {
  if (note.device === undefined) return;
  const now = await target.record.identity();
  if (isSameDevice(note.device, now) !== 'no') return;
  const what = `the journal of the interrupted apply belongs to another device (${describeIdentity(note.device)}; this is ${describeIdentity(now)})`;
  throw refusal(target, note, what);
}

/**
 * The gap in what is known about a target since an apply to it was interrupted, in words; null: surely no one else
 * wrote to it. Throws BaseMismatchError if someone did.
 */
export async function findGap(target: OpenTarget, note: ApplyNote): Promise<string | null> {
  // Writing old bytes back changes the stamp.
  if (note.isUndoing || note.stamp === undefined || note.device === undefined) return UNSEEN;
  const verdict = compareStamps(note.stamp, await target.record.stamp());
  if (verdict === 'moved')
    throw refusal(target, note, 'someone wrote to it since an apply to it was interrupted');
  return verdict === 'same' ? null : UNSEEN;
}

function refusal(
  { device, folder, recoverWords }: OpenTarget,
  { log }: ApplyNote,
  what: string,
): BaseMismatchError {
  return new BaseMismatchError(
    device.path,
    null,
    `${what}. Nothing was taken back, and nothing was written. Find out what it holds ("lvmsync verify" compares it ` +
      `with a volume). If that is right, discard the journal: remove ${folder}/apply.json. To write the old bytes ` +
      `anyway: ${recoverWords} --force=base (they are in ${log})`,
  );
}
