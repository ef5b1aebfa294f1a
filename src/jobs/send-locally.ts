import type { ChangeSource } from '../changes/change-source.js';
import { BufferPool } from '../device/aligned-memory.js';
import { FarError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { NO_COMPRESSION } from '../session/choose-packer.js';
import type { OpenForRun } from '../session/receiver.js';
import type { SendOptions } from '../session/send-changes.js';
import { runSender, type SessionSummary } from '../session/sender.js';
import type { ApplyPolicy } from '../target/apply-policy.js';
import { stackOf } from '../target/guard.js';
import { openTargetFor } from './apply.js';
import { startLocalReceiver } from './local-far-side.js';
import { RECEIVE_MEMORY, SEND_MEMORY } from './memory.js';

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
