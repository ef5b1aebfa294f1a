import { BaseMismatchError } from '../errors.js';
import type { OpenTarget } from '../targets/open-target.js';
import { describeIdentity, isSameDevice } from '../usage/device-identity.js';
import { compareStamps } from '../usage/write-stamp.js';
import type { ApplyNote } from './journal.js';

/*
 * A journal belongs to one device and one moment: what it holds are the old bytes of the device that an apply wrote,
 * as long as nobody else writes there. The bytes alone do not say who wrote them.
 */

const UNSEEN = 'an apply to it was interrupted, and lvmsync cannot tell whether someone wrote to it since';

/**
 * Throws BaseMismatchError where a journal is of another device than the one that has the target's path now. Throws
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
 * Whether someone else wrote to a target since an apply to it was cut short: the gap in what is known of it, null where
 * surely nobody did. Throws BaseMismatchError where someone did.
 */
export async function findGap(target: OpenTarget, note: ApplyNote): Promise<string | null> {
  // Once old bytes are written back, the stamp moves by that.
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
