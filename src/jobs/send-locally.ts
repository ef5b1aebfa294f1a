import type { ChangeSource } from '../changes/change-source.js';
import { FarError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { RECEIVE_MEMORY, SEND_MEMORY } from '../memory/budgets.js';
import { startLocalReceiver } from '../reach/local-far-side.js';
import { NO_COMPRESSION } from '../send/choose-packer.js';
import type { SendOptions } from '../send/send-changes.js';
import type { OpenForRun } from '../session/receiver.js';
import { runSender, type SessionSummary } from '../session/sender.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import { stackOf } from '../usage/guard.js';
import { openTargetFor } from './apply.js';

/** Sends a source's changes to a target of this host: both sides of the session are in this process. */
export async function sendToLocalTarget(
  source: ChangeSource,
  path: string,
  policy: ApplyPolicy,
  how: SendOptions,
  about: Surroundings,
): Promise<SessionSummary> {
  const sources = [{ name: source.name, ...(await stackOf(source.paths)) }];
  const open: OpenForRun = (run, volumeSize) =>
    openTargetFor(path, policy, { sources, run, allowed: null, volumeSize }, about);
  const receiver = startLocalReceiver(open, policy, about, new BufferPool(RECEIVE_MEMORY).lend);
  try {
    // Between two ends of this process nothing is saved by fewer bytes.
    const asTheyAre = { ...how, compression: NO_COMPRESSION };
    return await runSender(receiver.far, source, asTheyAre, about, new BufferPool(SEND_MEMORY).lend);
  } catch (error) {
    // What went wrong at the target went wrong right here: its own error says more than the report of it.
    if (error instanceof FarError) throw (await receiver.outcome).error ?? error;
    throw error;
  }
}
