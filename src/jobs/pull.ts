import { BufferPool } from '../device/aligned-memory.js';
import { orInterrupted } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import { runPulledSender, type PulledOutcome, type SenderLine } from '../session/pulled-sender.js';
import { PullerRun, runPuller } from '../session/puller.js';
import type { SendOptions } from '../session/send-changes.js';
import type { FarSide } from '../session/sender.js';
import type { ApplyPolicy } from '../target/apply-policy.js';
import type { OpenTarget } from '../target/open-target.js';
import { sendWords } from '../transport/remote-command.js';
import type { Destination } from '../transport/target-spec.js';
import { FOR_NO_RUN, openTargetFor } from './apply.js';
import { startFarSide, type Reach } from './far-side.js';
import { tellLarger } from './larger-target.js';
import { openSource, type SourceSpec } from './open-source.js';
import { RECEIVE_MEMORY, SEND_MEMORY } from './memory.js';
import { withRetries } from './retry.js';
import type { TransferSummary } from './transfer.js';

/** Where changes are pulled from. */
export interface PullSpec {
  readonly host: Destination;
  /** A snapshot of that host, in the words of whoever is there. */
  readonly snapshot: string;
  /** Where the new bytes are read over there; null: from the snapshot's origin. */
  readonly dataSource: string | null;
}

/**
 * Brings a snapshot's changes from another host into a target of this one: a transfer that the other end began.
 * Returns when all of it is on stable storage here, and the far sender agreed that it is all.
 */
export async function pull(
  spec: PullSpec,
  targetPath: string,
  policy: ApplyPolicy,
  reach: Reach,
  how: SendOptions,
  about: Surroundings,
): Promise<TransferSummary> {
  const started = about.clock();
  // First of all: a target that must not be written needs nobody's changes.
  let first: OpenTarget | null = await openTargetFor(targetPath, policy, FOR_NO_RUN, about);
  const run = new PullerRun();
  const summary = await withRetries(reach.retries, run, about, async () => {
    const target = first ?? (await openTargetFor(targetPath, policy, FOR_NO_RUN, about));
    first = null;
    const far = await startSender(spec, reach, how, about, target);
    const { lend } = new BufferPool(RECEIVE_MEMORY);
    return await runPuller(far, () => Promise.resolve(target), policy, about, lend, run);
  });
  tellLarger(targetPath, summary.targetSize, summary.volumeSize, about);
  return { ...summary, seconds: (about.clock() - started) / 1000, source: spec.snapshot };
}

async function startSender(
  { host, snapshot, dataSource }: PullSpec,
  reach: Reach,
  how: SendOptions,
  about: Surroundings,
  target: OpenTarget,
): Promise<FarSide> {
  const options = [
    ...(dataSource === null ? [] : ['--data-source', dataSource]),
    ...(how.proofs ? [] : ['--whole-chunks']),
    ...(how.blockSize === undefined ? [] : ['--block-size', `${how.blockSize}`]),
    ...(how.dryRun ? ['--dry-run'] : []),
    ...trafficWords(how),
  ];
  try {
    return await orInterrupted(startFarSide(host, reach, sendWords(snapshot, options), about), about.signal);
  } catch (error) {
    await target.close();
    throw error;
  }
}

/** How blocks shall travel, in the words of whoever sends them. */
function trafficWords({ compression, bytesPerSecond }: SendOptions): string[] {
  const words: string[] = [];
  if (compression?.kind === 'none') words.push('--codec', 'none');
  if (compression?.kind === 'codec') {
    const { name, level } = compression;
    words.push('--codec', level === null ? name : `${name}:${level}`);
  }
  if (bytesPerSecond !== undefined) words.push('--bwlimit', `${bytesPerSecond}B`);
  return words;
}

/** Is the far side of a pull, for a source of this host. */
export function sendPulled(
  line: SenderLine,
  spec: SourceSpec,
  how: SendOptions,
  about: Surroundings,
): Promise<PulledOutcome> {
  const open = () => openSource(about, spec);
  return runPulledSender(line, open, how, about, new BufferPool(SEND_MEMORY).lend);
}
