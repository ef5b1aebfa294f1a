import { SuspectTargetError } from '../../errors.js';
import type { ApplySummary } from '../../jobs/apply.js';
import type { TransferSummary } from '../../jobs/transfer.js';
import type { Verified } from '../../targets/coverage.js';
import type { Context } from '../context.js';
import { countOf, formatBytes, formatDuration, formatShare } from '../../bytes/amounts.js';

/** A rate measured over less depends more on the latency than on the bandwidth. */
const LEAST_FOR_A_RATE = { seconds: 5, bytes: 64 * 1024 * 1024 };

/** The options that decide how a summary is printed. */
export interface SummaryOptions {
  readonly json?: true | undefined;
  readonly quiet?: true | undefined;
  readonly dryRun?: true | undefined;
  /** The share to audit. Percent. */
  readonly audit?: number | undefined;
  /** The user accepts that the origin is in use. */
  readonly live?: true | undefined;
  /** The user declares that no process writes to it. */
  readonly quiesced?: true | undefined;
  readonly foundBy?: FoundBy;
}

/** How the blocks to send were found: by tracked changes, by a comparison, or not at all (all blocks were sent). */
export type FoundBy = 'changes' | 'scan' | 'copy';

/** Prints what a transfer did: one JSON object on stdout, or a line or two on stderr. */
export function sayTransferred(
  summary: TransferSummary,
  target: string,
  options: SummaryOptions,
  context: Context,
): void {
  const { source, tableBytes, changedBytes, resumedBytes, sentBytes, volumeSize, blocks, consistent } =
    summary;
  const { mismatches, suspect, codec } = summary;
  const { foundBy = 'changes' } = options;
  const verified = shareOf(summary.verified, volumeSize);
  if (options.json === true) {
    const seconds = roundSeconds(summary.seconds);
    const sent = { tableBytes, changedBytes, resumedBytes, sentBytes, blocks, seconds };
    const quiesced = options.quiesced === true;
    const proofs = { mismatches, suspect, verified };
    writeJson(
      { ...sent, source, target, consistent, quiesced, ...proofs, codec, ...planOf(summary) },
      context,
    );
    return;
  }
  if (options.quiet === true) return;
  if (options.dryRun === true) {
    const share = `${formatShare(changedBytes, volumeSize)} of ${formatBytes(volumeSize)}`;
    // Only a scan has compared: a run that writes leaves out blocks that were rewritten as they were, and zeroes.
    const most = foundBy === 'scan' ? '' : ' at most';
    context.say(
      `dry run: ${formatBytes(changedBytes)} (${share})${most} would be sent to ${target}; nothing was written`,
    );
    return;
  }
  context.say(
    `${formatBytes(changedBytes)} ${WHAT_WENT[foundBy]} (${formatShare(changedBytes, volumeSize)} of ${formatBytes(volumeSize)}), ` +
      `${formatBytes(sentBytes)} sent in ${formatDuration(summary.seconds)}${foundBy === 'copy' ? sayResumed(summary) : compareWithFullCopy(summary)}`,
  );
  sayMismatches(summary, target, context);
  if (options.audit !== undefined && verified !== null)
    context.say(`${target}: ${describeVerified(verified)}`);
  if (!consistent && options.quiesced === true) {
    context.say(
      `warning: ${source}: the volume was written to while it was read, although --quiesced says that nothing ` +
        'writes to it, so the target is not a consistent point-in-time copy; stop the writes and run it again',
    );
  } else if (!consistent && options.live !== true) {
    const [volume, advice] =
      foundBy === 'changes'
        ? ['the volume', 'use a second, read-only snapshot as --data-source']
        : ['it', 'use a snapshot of it'];
    context.say(
      `warning: ${source}: ${volume} was in use while it was read, so the target is not a consistent point-in-time ` +
        `copy; ${advice} (--live silences this warning, --quiesced declares that nothing writes to it)`,
    );
  }
}

/** How much of a target was compared with its source or written by lvmsync, and the earliest time at which that was. */
export interface VerifiedShare extends Verified {
  /** From 0 to 1. */
  readonly share: number;
}

export function shareOf(verified: Verified | null, volumeSize: number | null): VerifiedShare | null {
  if (verified === null) return null;
  const { bytes, since } = verified;
  return { bytes, share: volumeSize === null || volumeSize === 0 ? 0 : bytes / volumeSize, since };
}

/** The share in words, to follow a name. */
export function describeVerified({ share, since }: VerifiedShare): string {
  if (since === null) return 'no proof of any part of it is recorded (a copy or --audit records one)';
  const at = since.replace(/:\d\d(\.\d+)?Z$/, ' UTC').replace('T', ' ');
  return share === 1
    ? `all of it has been proved since ${at}`
    : `${(share * 100).toFixed(1)} % of it has been proved since ${at}`;
}

const WHAT_WENT: Record<FoundBy, string> = { changes: 'changed', scan: 'differed', copy: 'copied' };

/** Throws SuspectTargetError if the rest of a target is in doubt. Must be called after everything else is printed. */
export function checkSuspect({ suspect }: Pick<TransferSummary, 'suspect'>, target: string): void {
  if (suspect !== null) throw new SuspectTargetError(target, suspect);
}

/** Prints how many blocks did not hold the expected bytes before they were written. */
function sayMismatches(
  { mismatches, suspect }: Pick<TransferSummary, 'mismatches' | 'suspect'>,
  target: string,
  context: Context,
): void {
  // If the rest is in doubt because of them, the error says so.
  if (mismatches === null || mismatches === 0 || suspect !== null) return;
  context.say(
    `warning: ${target}: ${countOf(mismatches, 'block')} did not hold the bytes of the base; what was sent is correct now, but ` +
      'blocks that did not change may be wrong too: compare the target with its source (lvmsync verify)',
  );
}

/** Compares with a full copy: always by bytes; by time only if the run was long enough to measure a rate. */
function compareWithFullCopy(summary: TransferSummary): string {
  const { volumeSize, sentBytes, resumedBytes, seconds } = summary;
  if (resumedBytes > 0) return sayResumed(summary);
  if (sentBytes === 0 || sentBytes >= volumeSize) return '';
  const times = (volumeSize / sentBytes).toFixed(1);
  if (seconds < LEAST_FOR_A_RATE.seconds || sentBytes < LEAST_FOR_A_RATE.bytes)
    return `; a full copy would send ${times} times as much`;
  const fullCopy = formatDuration((seconds * volumeSize) / sentBytes);
  return `: ${times} times faster than a full copy, which would take ${fullCopy} at this rate`;
}

function sayResumed({ resumedBytes }: TransferSummary): string {
  return resumedBytes > 0 ? `; ${formatBytes(resumedBytes)} were already there` : '';
}

/** Prints what an apply did. */
export function sayApplied(
  summary: ApplySummary,
  { source, target }: { source: string; target: string },
  options: SummaryOptions,
  context: Context,
): void {
  const { changedBytes, blocks, protocol, targetSize, mismatches, suspect, volumeSize } = summary;
  const verified = shareOf(summary.verified, volumeSize);
  if (options.json === true) {
    const seconds = roundSeconds(summary.seconds);
    const what = { changedBytes, blocks, seconds, source, target, protocol };
    writeJson({ ...what, mismatches, suspect, verified }, context);
    return;
  }
  if (options.quiet === true) return;
  if (options.dryRun === true) {
    context.say(
      `dry run: ${formatBytes(changedBytes)} in ${countOf(blocks, 'block')} would be written to ${target}; nothing was written`,
    );
    return;
  }
  context.say(
    `${formatBytes(changedBytes)} in ${countOf(blocks, 'block')} written to ${target} ` +
      `(${formatShare(changedBytes, targetSize)} of it) and flushed in ${formatDuration(summary.seconds)}`,
  );
  sayMismatches(summary, target, context);
  if (protocol === 3) {
    context.say(
      `warning: ${source}: PROTO[3] has neither an end mark nor a base: ` +
        `nothing proves that the stream was complete, or that it was meant for ${target}`,
    );
  }
}

/** What a dry run found out. */
function planOf({ plan }: TransferSummary): Pick<TransferSummary, 'plan'> {
  return plan === undefined ? {} : { plan };
}

function writeJson(value: object, context: Context): void {
  context.stdout.write(`${JSON.stringify(value)}\n`);
}

function roundSeconds(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
