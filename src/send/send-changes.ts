import { sumLengths, type Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSource, SourceFacts } from '../changes/change-source.js';
import type { BlockPacker } from '../engine/pack-blocks.js';
import { DeviceError, UsageError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { StreamWriter } from '../stream/block-writer.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { UNKNOWN, type KnownState, type TargetState } from '../targets/state-record.js';
import { audit, nextStretch, type AuditLine, type Mended } from './audit.js';
import { takeCloserSample } from './base-sample.js';
import { beginStream, type OldBytesWish, type SendSurroundings } from './begin-stream.js';
import {
  Checkpoints,
  type CheckpointLine,
  behind,
  findRest,
  keyOf,
  type StreamContents,
  type StreamRest,
} from './checkpoints.js';
import type { CompressionWish } from './choose-packer.js';
import { BlockSender, type BlockLine, type OldBytesSource } from './send-blocks.js';

/** What was sent. Sizes in bytes. */
export interface SendSummary {
  /** The size of the change set. */
  readonly tableBytes: number;
  /** What was sent as data, zeroes or discards, in this session or in an earlier one that it continues. */
  readonly changedBytes: number;
  /** How much of that the target already held from an earlier session. */
  readonly resumedBytes: number;
  /** How many blocks were sent in this session. */
  readonly blocks: number;
  readonly volumeSize: number;
  /** Whether the target is a consistent point-in-time copy of the volume. */
  readonly consistent: boolean;
}

/** How a user wants changes to be sent. */
export interface SendOptions extends OldBytesWish {
  /**
   * How much of the volume to audit, which compares what did not change there. Percent, with proofs only; null: no
   * audit.
   */
  readonly audit?: number | null;
  /** Whether to compress blocks; by default not. Only a session can find out by itself what is best. */
  readonly compression?: CompressionWish;
  /** The most that may be sent per second; without it, there is no limit. */
  readonly bytesPerSecond?: number;
}

/** What is known once the receiver is ready. */
export interface Greeting extends KnownState {
  /** Whether it can check extents that are sent in parts. */
  readonly takesSections: boolean;
  /** Compresses the blocks; null: they are sent uncompressed. */
  readonly packer: BlockPacker | null;
  /** The token, allegedly ours, of the place up to which the target holds this stream; empty: all of it. */
  readonly resume: Buffer | null;
}

/** Where a stream goes, and what the sender knows of its reader. */
export interface StreamLine extends BlockLine {
  /** Awaited after the sample, before the first block. */
  greet(): Promise<Greeting>;
  /** A receiver that answers; null: a pipe. */
  readonly session: SendSession | null;
}

/** What can be sent to a receiver that answers, in addition to the stream. */
export interface SendSession extends CheckpointLine, AuditLine {
  readonly header: Pick<StreamHeader, 'heartbeat' | 'run'>;
  /** Tells the receiver that only what is after this token's place follows. */
  resume(token: Buffer): Promise<void>;
}

const NOT_AUDITED = 'it was written to faster than it could be sent: nothing was audited';
const NOTHING_MENDED: Mended = { blocks: 0, bytes: 0 };

const FORGOTTEN =
  'an earlier transfer brought other changes from this base: the target keeps what was new then and was discarded since ' +
  '(in a file system, that is free space); "lvmsync verify" shows it, "lvmsync --scan" corrects it';

/** The line to a pipe, which never answers. */
export function pipeTo(writer: StreamWriter, packer: BlockPacker | null = null): StreamLine {
  return {
    writer,
    greet: () => Promise.resolve({ ...UNKNOWN, takesSections: true, packer, resume: null }),
    session: null,
  };
}

/**
 * Sends a source's changes as a stream: header, sample, blocks with their proofs in one or more passes, end.
 *
 * Throws SnapshotError if the source no longer knows every change: the stream then has no end frame, so that no
 * receiver takes it for complete. Throws DeviceError, and what the writer throws.
 */
export async function sendChanges(
  source: ChangeSource,
  line: StreamLine,
  options: SendOptions,
  env: SendSurroundings,
): Promise<SendSummary> {
  try {
    return await sendStream(source, line, options, env);
  } catch (error) {
    // A snapshot gives read errors once it has overflowed: then report the overflow instead.
    if (error instanceof DeviceError) await source.watch.checkValid();
    throw error;
  }
}

async function sendStream(
  source: ChangeSource,
  line: StreamLine,
  options: SendOptions,
  env: SendSurroundings,
): Promise<SendSummary> {
  const { facts, watch } = source;
  const { writer, session } = line;
  const usesOld = { ...options, proofs: options.proofs && writer.carriesProofs };
  const opening = await beginStream(source, usesOld, env);
  const { changes: first, base, unchanged, unit, sample, header } = opening;
  await writer.start({ ...header, ...session?.header });
  for (const proof of [...sample.changed, ...sample.unchanged]) await writer.prove(proof);
  const greeting = await line.greet();
  if (greeting.isStale && unchanged !== null) {
    for (const proof of await takeCloserSample(unchanged, first, env.lend)) await writer.prove(proof);
  }
  const isDoubtful = keepsForgotten(facts, greeting.holds);
  if (isDoubtful) env.notice(`${facts.name}: ${FORGOTTEN}`);
  const stretch = { from: greeting.auditFrom, percent: options.audit ?? null };
  const audited = planAudit(facts, unchanged, session, stretch);
  env.progress.start(first.changedBytes);
  try {
    const old = base === null ? null : planOldBytes(base, unit, greeting);
    const whole = { source, changes: first, unit: old?.unit ?? null };
    const rest = await agreeOnRest(whole, greeting, session, env);
    const checkpoints = await planCheckpoints({ ...whole, changes: rest.changes }, session, env);
    const sender = new BlockSender(source, { old, packer: greeting.packer, checkpoints }, line, env);
    const all = await sender.sendPasses(rest);
    const consistent = sender.lastPassSawAll && (await watch.isConsistent());
    // If the target already holds everything, there is nothing to audit.
    const isLeft = audited !== null && rest.offset < facts.volumeSize;
    let mended = NOTHING_MENDED;
    if (isLeft && sender.lastPassSawAll) {
      mended = await audit({ ...audited, changes: all }, writer, audited.line, env);
      await watch.checkValid();
    } else if (isLeft) env.notice(`${facts.name}: ${NOT_AUDITED}`);
    // A source that was written to while it was read has no named state, whatever the header says.
    const isUnnamed = header.result !== null && !consistent && (await watch.dataProof()) === null;
    await writer.finish(isDoubtful || isUnnamed);
    return {
      tableBytes: all.trackedBytes,
      changedBytes: sender.bytes + sender.resumedBytes + mended.bytes,
      resumedBytes: sender.resumedBytes,
      blocks: sender.blocks + mended.blocks,
      volumeSize: facts.volumeSize,
      consistent,
    };
  } finally {
    env.progress.stop();
  }
}

/** What to audit, and over which line. */
interface PlannedAudit {
  readonly unchanged: ReadableVolume;
  readonly extent: Extent;
  readonly line: AuditLine;
}

/**
 * The stretch to audit; null: no audit is wanted. Throws UsageError if an audit is not possible.
 *
 * @param from where the receiver says that the last stretch ended; undefined: it does not say
 */
function planAudit(
  { name, volumeSize }: SourceFacts,
  unchanged: ReadableVolume | null,
  line: AuditLine | null,
  { from, percent }: { readonly from: number | undefined; readonly percent: number | null },
): PlannedAudit | null {
  if (percent === null) return null;
  if (unchanged === null || line === null || from === undefined) {
    const why = unchanged === null ? 'what did not change cannot be read here' : 'the target does not answer';
    throw new UsageError(`${name}: --audit: ${why}; transfer without it, and compare with "lvmsync verify"`);
  }
  return { unchanged, line, extent: nextStretch(from, percent, volumeSize) };
}

/** Whether a target may keep blocks that the source no longer knows about: then the result has no name. */
function keepsForgotten(
  { forgetsDiscarded = false, base, result }: SourceFacts,
  holds: TargetState | null,
): boolean {
  if (!forgetsDiscarded || holds === null || base === null) return false;
  if (holds.is === 'exactly' && (holds.identity === base || holds.identity === result)) return false;
  return holds.identity === base || holds.from === base;
}

/** How to use old bytes with this receiver. */
function planOldBytes(
  volume: ReadableVolume,
  unit: number | null,
  { takesSections }: Greeting,
): OldBytesSource {
  return { volume, unit: takesSections ? unit : null };
}

/** What is left to send. Tells the receiver if that is not everything. */
async function agreeOnRest(
  whole: StreamContents,
  { holds, resume }: Greeting,
  session: SendSession | null,
  env: Surroundings,
): Promise<StreamRest> {
  const { source, changes } = whole;
  const all = { changes, offset: 0, sent: 0 };
  if (session === null) return all;
  if (resume === null) return all;
  if (resume.length === 0) {
    if (!(await holdsResult(whole, holds))) return all;
    env.notice('the target holds all of it already: only its report was lost');
    await session.resume(resume);
    return { changes, offset: source.facts.volumeSize, sent: changes.changedBytes };
  }
  const rest = await findRest(whole, resume);
  if (rest === null) {
    env.notice(
      'an earlier transfer cannot be continued, as its data may not be the same: all of it is sent again',
    );
    return all;
  }
  const [left, total] = [sumLengths(behind(rest.changes.extents(), rest.offset)), rest.changes.changedBytes];
  env.notice(`continuing at byte ${rest.offset}: ${total - left} of ${total} bytes are there already`);
  await session.resume(resume);
  return rest;
}

/** Whether a target that reports to hold the stream's result really does. */
async function holdsResult(whole: StreamContents, holds: TargetState | null): Promise<boolean> {
  const { base, result } = whole.source.facts;
  const isResult = holds?.is === 'exactly' && holds.identity === result && holds.from === base;
  return isResult && (await keyOf(whole)) !== null;
}

/** Checkpoints are useful only if the data cannot change: otherwise the stream cannot be resumed. */
async function planCheckpoints(
  stream: StreamContents,
  session: SendSession | null,
  { clock }: Surroundings,
): Promise<Checkpoints | null> {
  const key = session === null ? null : await keyOf(stream);
  return session === null || key === null ? null : new Checkpoints(session, key, stream.changes, clock);
}
