import type { LendBuffer } from '../bytes/byte-channel.js';
import { sumLengths, type Extent } from '../bytes/extent.js';
import type { ReadableVolume } from '../changes/base-view.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import type { BlockPacker } from '../engine/pack-blocks.js';
import { DeviceError, UsageError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { BlockWriter } from '../stream/block-writer.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { UNKNOWN, type KnownState, type TargetState } from '../targets/state-record.js';
import { audit, nextStretch, type AuditLine, type Mended } from './audit.js';
import { takeCloserSample } from './base-sample.js';
import { Checkpoints, type CheckpointLine, behind, findRest, keyOf, type StreamRest } from './checkpoints.js';
import type { CompressionWish } from './choose-packer.js';
import { openStream, type OldBytesWish } from './open-stream.js';
import { BlockSender, type OldBytesSource } from './send-blocks.js';

/** What went out. Sizes in bytes. */
export interface SendSummary {
  /** What the change set named. */
  readonly tableBytes: number;
  /** What went out as data, zeroes or discards, now or in a session that this one went on with. */
  readonly changedBytes: number;
  /** What of that the target held from such a session. */
  readonly resumedBytes: number;
  /** What went out now. */
  readonly blocks: number;
  readonly volumeSize: number;
  /** Whether the target now holds the volume's state at one moment. */
  readonly consistent: boolean;
}

/** What a user wants of a sender. */
export interface SendOptions extends OldBytesWish {
  /** How much of the volume to audit: what did not change there is compared. Percent, with proofs only; null: nothing. */
  readonly audit?: number | null;
  /** Whether to compress blocks; not, where nothing is said. Only a session can find out by itself what is best. */
  readonly compression?: CompressionWish;
  /** The most that may go out in a second; without it, as much as the line takes. */
  readonly bytesPerSecond?: number;
}

/** What is known once the receiver is ready. */
export interface Greeting extends KnownState {
  /** Whether it can check extents of which only parts come. */
  readonly takesSections: boolean;
  /** Compresses the blocks; null where they go out as they are. */
  readonly packer: BlockPacker | null;
  /** A token of ours, it says, for the place up to which the target holds this stream; an empty one for all of it. */
  readonly resume: Buffer | null;
}

/** Who reads a stream, as far as its writer knows. */
export interface StreamReader {
  /** Awaited after the sample, before the first block. */
  greet(): Promise<Greeting>;
  /** A receiver that answers, or null of a pipe. */
  readonly session: SendSession | null;
}

/** What a receiver that answers can be told beside the stream. */
export interface SendSession extends CheckpointLine, AuditLine {
  readonly header: Pick<StreamHeader, 'heartbeat' | 'run'>;
  /** Says that only what lies behind the place of this token follows. */
  resume(token: Buffer): Promise<void>;
}

const NOT_AUDITED = 'it was written to faster than it could be sent: nothing was audited';
const NOTHING_MENDED: Mended = { blocks: 0, bytes: 0 };

const FORGOTTEN =
  'an earlier transfer brought other changes from this base: the target keeps what was new then and was discarded since ' +
  '(in a file system, that is free space); "lvmsync verify" shows it, "lvmsync --scan" corrects it';

/** A pipe that says nothing. */
export function silentReader(packer: BlockPacker | null): StreamReader {
  return {
    greet: () => Promise.resolve({ ...UNKNOWN, takesSections: true, packer, resume: null }),
    session: null,
  };
}

/**
 * Sends a source's changes as a stream: header, sample, blocks with their proofs in one or more passes, end.
 *
 * Throws SnapshotError where the source stopped knowing every change meanwhile: the stream is then left without
 * its end, so that no receiver takes it for whole. Throws DeviceError, and whatever the writer throws.
 */
export async function sendChanges(
  source: ChangeSource,
  writer: BlockWriter,
  options: SendOptions,
  about: Surroundings,
  lend: LendBuffer,
  reader: StreamReader = silentReader(null),
): Promise<SendSummary> {
  try {
    return await sendStream(source, writer, options, about, lend, reader);
  } catch (error) {
    // A snapshot that overflows gives read errors from then on: the overflow is what its user must hear of.
    if (error instanceof DeviceError) await source.checkValid();
    throw error;
  }
}

async function sendStream(
  source: ChangeSource,
  writer: BlockWriter,
  options: SendOptions,
  about: Surroundings,
  lend: LendBuffer,
  reader: StreamReader,
): Promise<SendSummary> {
  const { session } = reader;
  const usesOld = { ...options, proofs: options.proofs && writer.carriesProofs };
  const opening = await openStream(source, usesOld, about, lend);
  const { changes: first, base, unchanged, unit, sample, header } = opening;
  await writer.start({ ...header, ...session?.header });
  for (const proof of [...sample.changed, ...sample.unchanged]) await writer.prove(proof);
  const greeting = await reader.greet();
  if (greeting.isStale && unchanged !== null) {
    for (const proof of await takeCloserSample(unchanged, first, lend)) await writer.prove(proof);
  }
  const isDoubtful = keepsForgotten(source, greeting.holds);
  if (isDoubtful) about.notice(`${source.name}: ${FORGOTTEN}`);
  const audited = planAudit(source, unchanged, session, greeting, options);
  about.progress.start(first.changedBytes);
  try {
    const old = base === null ? null : planOldBytes(base, unit, greeting);
    const rest = await agreeOnRest(source, first, old?.unit ?? null, greeting, session, about);
    const checkpoints = await planCheckpoints(source, rest.changes, old?.unit ?? null, session, about);
    const sender = new BlockSender(source, old, writer, greeting.packer, lend, about, checkpoints, session);
    const all = await sender.sendPasses(rest);
    const consistent = sender.lastPassSawAll && (await source.isConsistent());
    // Of a target that holds all of it already, nothing is said any more.
    const isLeft = audited !== null && rest.offset < source.volumeSize;
    let mended = NOTHING_MENDED;
    if (isLeft && sender.lastPassSawAll) {
      mended = await audit({ ...audited, changes: all }, writer, audited.line, about, lend);
      await source.checkValid();
    } else if (isLeft) about.notice(`${source.name}: ${NOT_AUDITED}`);
    // What somebody wrote to while it was read is in no state that has a name, whatever the header said.
    const isUnnamed = header.result !== null && !consistent && (await source.dataProof()) === null;
    await writer.finish(isDoubtful || isUnnamed);
    return {
      tableBytes: all.trackedBytes,
      changedBytes: sender.bytes + sender.resumedBytes + mended.bytes,
      resumedBytes: sender.resumedBytes,
      blocks: sender.blocks + mended.blocks,
      volumeSize: source.volumeSize,
      consistent,
    };
  } finally {
    about.progress.stop();
  }
}

/** What is to be audited, and over which line. */
interface PlannedAudit {
  readonly unchanged: ReadableVolume;
  readonly extent: Extent;
  readonly line: AuditLine;
}

/** The stretch that an audit is for; null where none is wished. Throws UsageError where none is possible. */
function planAudit(
  { name, volumeSize }: ChangeSource,
  unchanged: ReadableVolume | null,
  line: AuditLine | null,
  { auditFrom }: Greeting,
  { audit: percent }: SendOptions,
): PlannedAudit | null {
  if (percent == null) return null;
  if (unchanged === null || line === null || auditFrom === undefined) {
    const why = unchanged === null ? 'what did not change cannot be read here' : 'the target does not answer';
    throw new UsageError(`${name}: --audit: ${why}; transfer without it, and compare with "lvmsync verify"`);
  }
  return { unchanged, line, extent: nextStretch(auditFrom, percent, volumeSize) };
}

/** Whether a target may keep what a source does not know of any more: then it comes to no state that has a name. */
function keepsForgotten(source: ChangeSource, holds: TargetState | null): boolean {
  const { forgetsDiscarded = false, base, result } = source;
  if (!forgetsDiscarded || holds === null || base === null) return false;
  if (holds.is === 'exactly' && (holds.identity === base || holds.identity === result)) return false;
  return holds.identity === base || holds.from === base;
}

/** What old bytes are used for, with the receiver that there is. */
function planOldBytes(
  volume: ReadableVolume,
  unit: number | null,
  { takesSections }: Greeting,
): OldBytesSource {
  return { volume, unit: takesSections ? unit : null };
}

/** What is left to send, which the receiver is told where it is not all. */
async function agreeOnRest(
  source: ChangeSource,
  first: ChangeSet,
  unit: number | null,
  { holds, resume }: Greeting,
  session: SendSession | null,
  about: Surroundings,
): Promise<StreamRest> {
  const all = { changes: first, offset: 0, sent: 0 };
  if (session === null) return all;
  if (resume === null) return all;
  if (resume.length === 0) {
    if (!(await holdsResult(source, first, unit, holds))) return all;
    about.notice('the target holds all of it already: only its report was lost');
    await session.resume(resume);
    return { changes: first, offset: source.volumeSize, sent: first.changedBytes };
  }
  const rest = await findRest(source, first, resume, unit);
  if (rest === null) {
    about.notice(
      'an earlier transfer cannot be continued, as its data may not be the same: all of it is sent again',
    );
    return all;
  }
  const [left, total] = [sumLengths(behind(rest.changes.extents(), rest.offset)), rest.changes.changedBytes];
  about.notice(`continuing at byte ${rest.offset}: ${total - left} of ${total} bytes are there already`);
  await session.resume(resume);
  return rest;
}

/** Whether a target that says so holds what all of the stream leads to. */
async function holdsResult(
  source: ChangeSource,
  first: ChangeSet,
  unit: number | null,
  holds: TargetState | null,
): Promise<boolean> {
  const isResult = holds?.is === 'exactly' && holds.identity === source.result && holds.from === source.base;
  return isResult && (await keyOf(source, first, unit)) !== null;
}

/** Only what nobody can have changed is worth to be taken up again. */
async function planCheckpoints(
  source: ChangeSource,
  changes: ChangeSet,
  unit: number | null,
  session: SendSession | null,
  about: Surroundings,
): Promise<Checkpoints | null> {
  const key = session === null ? null : await keyOf(source, changes, unit);
  return session === null || key === null ? null : new Checkpoints(session, key, changes, about.clock);
}
