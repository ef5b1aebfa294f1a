import { SuspectTargetError } from '../../errors.js';
import type { ApplySummary } from '../../jobs/apply.js';
import type { TransferSummary } from '../../jobs/transfer.js';
import type { Verified } from '../../targets/coverage.js';
import type { Context } from '../context.js';
import { formatBytes, formatDuration, formatShare } from '../terminal.js';

/** A rate measured over less says more of the latency than of the line. */
const LEAST_FOR_A_RATE = { seconds: 5, bytes: 64 * 1024 * 1024 };

/** The options that decide how a summary is told. */
export interface SummaryOptions {
  readonly json?: true | undefined;
  readonly quiet?: true | undefined;
  readonly dryRun?: true | undefined;
  /** How much was to be audited. Percent. */
  readonly audit?: number | undefined;
  /** That the origin is in use is meant. */
  readonly live?: true | undefined;
  /** That whoever has it open writes nothing is vouched for. */
  readonly quiesced?: true | undefined;
}

/** What found the blocks that went out: changes that were tracked, a comparison, or nothing, as all went. */
export type FoundBy = 'changes' | 'scan' | 'copy';

/** Tells what a transfer did: as one JSON object on stdout, or in a line or two on stderr. */
export function sayTransferred(
  summary: TransferSummary,
  target: string,
  options: SummaryOptions,
  context: Context,
  foundBy: FoundBy = 'changes',
): void {
  const { source, tableBytes, changedBytes, resumedBytes, sentBytes, volumeSize, blocks, consistent } =
    summary;
  const { mismatches, suspect, codec } = summary;
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
    context.say(
      `dry run: ${formatBytes(changedBytes)} (${share}) would go to ${target}; nothing was written`,
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
      `warning: ${source}: what it is read from was written to meanwhile, although --quiesced vouches for the ` +
        "contrary: the target holds no single moment's state; stop what writes to it, and run it again",
    );
  } else if (!consistent && options.live !== true) {
    const [inUse, advice] =
      foundBy === 'changes'
        ? ['what it is read from was', 'a second snapshot as --data-source gives one, if nobody writes to it']
        : ['it was', 'a snapshot of it has one'];
    context.say(
      `warning: ${source}: ${inUse} in use, so the target holds no single moment's state; ${advice} ` +
        '(--live says that this is meant, --quiesced that nobody writes to it)',
    );
  }
}

/** How much of a target was compared with its source or written by lvmsync, and since when: the earliest of that. */
export interface VerifiedShare extends Verified {
  /** From 0 to 1. */
  readonly share: number;
}

export function shareOf(verified: Verified | null, volumeSize: number | null): VerifiedShare | null {
  if (verified === null) return null;
  const { bytes, since } = verified;
  return { bytes, share: volumeSize === null || volumeSize === 0 ? 0 : bytes / volumeSize, since };
}

/** The share in words that need a name before them. */
export function describeVerified({ share, since }: VerifiedShare): string {
  if (since === null) return 'nothing of it is proved yet';
  const at = since.replace(/:\d\d(\.\d+)?Z$/, ' UTC').replace('T', ' ');
  return share === 1
    ? `all of it was proved since ${at}`
    : `${(share * 100).toFixed(1)} % of it was proved since ${at}`;
}

const WHAT_WENT: Record<FoundBy, string> = { changes: 'changed', scan: 'differed', copy: 'copied' };

/** Throws SuspectTargetError where the rest of a target is in doubt: to be called when all else is said. */
export function checkSuspect({ suspect }: Pick<TransferSummary, 'suspect'>, target: string): void {
  if (suspect !== null) throw new SuspectTargetError(target, suspect);
}

/** Says how many blocks were not what they should have been before they were written. */
function sayMismatches(
  { mismatches, suspect }: Pick<TransferSummary, 'mismatches' | 'suspect'>,
  target: string,
  context: Context,
): void {
  // Where the rest is in doubt because of them, the error says so.
  if (mismatches === null || mismatches === 0 || suspect !== null) return;
  context.say(
    `warning: ${target}: ${mismatches} blocks did not hold what the base of the changes holds; they are right now, ` +
      'but others that did not change may be wrong too: compare the two',
  );
}

/** What a full copy would take: always its bytes; its time only where the run was long enough to tell the rate. */
function compareWithFullCopy(summary: TransferSummary): string {
  const { volumeSize, sentBytes, resumedBytes, seconds } = summary;
  if (resumedBytes > 0) return sayResumed(summary);
  if (sentBytes === 0 || sentBytes >= volumeSize) return '';
  const times = (volumeSize / sentBytes).toFixed(1);
  if (seconds < LEAST_FOR_A_RATE.seconds || sentBytes < LEAST_FOR_A_RATE.bytes)
    return `; a full copy would send ${times} times as much`;
  const fullCopy = formatDuration((seconds * volumeSize) / sentBytes);
  return `: ${times} times faster than a full copy, which at this rate takes ${fullCopy}`;
}

function sayResumed({ resumedBytes }: TransferSummary): string {
  return resumedBytes > 0 ? `; ${formatBytes(resumedBytes)} were there already` : '';
}

/** Tells what an apply did. */
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
      `dry run: ${formatBytes(changedBytes)} in ${blocks} blocks would go to ${target}; nothing was written`,
    );
    return;
  }
  context.say(
    `${formatBytes(changedBytes)} in ${blocks} blocks written to ${target} ` +
      `(${formatShare(changedBytes, targetSize)} of it) and flushed in ${formatDuration(summary.seconds)}`,
  );
  sayMismatches(summary, target, context);
  if (protocol === 3) {
    context.say(
      `warning: ${source}: PROTO[3] has neither an end mark nor a base: ` +
        `nothing proves that the stream was whole, or meant for ${target}`,
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
