import { randomBytes } from 'node:crypto';
import { FormatError } from '../errors.js';
import { makerOf, type Surroundings } from '../host/surroundings.js';
import { Journal } from '../journal/journal.js';
import { BlockBatch } from '../stream/batches/batch.js';
import type { Mark } from '../stream/block.js';
import type { IncomingStream, IncomingItems } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { checkKept, isOverwriting } from '../targets/apply-policy.js';
import { ContainerGuard } from '../targets/container-image.js';
import { NOTHING_VERIFIED, verifiedBy } from '../targets/coverage.js';
import { RoomBudget } from '../targets/room-budget.js';
import type { CopiedPlace, TargetState } from '../targets/state-record.js';
import { summaryOf, type ReceiveSummary } from './receive-summary.js';
import { countUnexpected, isBorneOut, stateDuring, type RunFindings } from './apply-states.js';
import { makeApplier, undoHeader, type ApplierWish, type MadeApplier } from './make-applier.js';
import type { WriteBlocks } from './plans/plan-apply.js';
import { ReceivedAudit, recordResult } from './record-result.js';
import type { ResumableApply } from './unfinished-apply.js';

export const HALF_COPIED = 'half-copied: run the copy again';
const STILL_HALF_COPIED = 'which is half-copied by an earlier run: run that copy again';
const IN_THE_WAY = 'remove what is in the way, and run it again';

/** What is applied, to what, and how. */
export interface ApplyOptions extends ApplierWish {
  /** Called when everything up to this frame is on stable storage. `isPlace`: another session can continue there. */
  readonly durable?: (frame: number, isPlace: boolean) => Promise<void>;
}

/** What one session of an apply works with. */
interface ApplySession extends MadeApplier {
  readonly journal: Journal | null;
  /** What was known about the target before the apply. */
  readonly before: TargetState | null;
  /** When this session began, or the first session of a copy that it continues. */
  readonly began: string | null;
  /** Bytes that an earlier session brought; null: there was no earlier session. */
  readonly broughtBefore: number | null;
  /** The mark that the undo and the record share, if the stream's result has no name. */
  readonly mark: string | null;
}

/** A running apply: the blocks, the journal that can take them back, the record of the state. */
export class Apply {
  private changedBytes: number;
  private readonly room: RoomBudget;
  private readonly containers: ContainerGuard | null;
  /** How far a full copy has come. */
  private copied: CopiedPlace | null = null;
  /** Whether the result is not the state that the stream's header names. */
  private isNameless = false;
  private isFirstPass = true;
  /** Bytes that came in passes after the first: what changed meanwhile, and what was asked for in full. */
  private laterBytes = 0;
  private audit: ReceivedAudit | null = null;
  private verified = NOTHING_VERIFIED;
  /** Whether someone else was found to use the target. */
  private isShared = false;
  /** Whether everything is on stable storage, and can no longer be taken back. */
  private isDone = false;

  private constructor(
    private readonly incoming: IncomingStream,
    private readonly options: ApplyOptions,
    private readonly session: ApplySession,
    private readonly env: Surroundings,
  ) {
    this.changedBytes = session.broughtBefore ?? 0;
    const { device } = options.target;
    this.room = new RoomBudget(device, incoming.header, env.spawner);
    this.containers = ContainerGuard.for(device, incoming.header);
  }

  /** Begins with a new journal, if the plan keeps old bytes. Throws as `Journal.begin`. */
  static async begin(
    incoming: IncomingStream,
    options: ApplyOptions,
    keeps: WriteBlocks['keeps'],
    env: Surroundings,
  ): Promise<Apply> {
    const { target, policy } = options;
    const { device, record, folder } = target;
    const { header } = incoming;
    const { holds } = await record.read();
    // A stream to an unnamed state never continues an earlier session, so it needs only one mark.
    const isMarked = header?.result === null && keeps === 'snapback';
    const mark = isMarked ? randomBytes(16).toString('hex') : null;
    const marked = mark === null ? makerOf(env) : { ...makerOf(env), mark };
    const undo = undoHeader(header, holds, device, marked);
    const found = { before: holds, device: await record.identity() };
    const journal = keeps === 'nothing' ? null : await Journal.begin(folder, undo, policy.snapback, found);
    try {
      await record.write(stateDuring(header, holds));
    } catch (error) {
      await journal?.abandon(false, null, null);
      throw error;
    }
    const made = makeApplier(options, header, journal, { before: holds });
    const began = begunAt(env);
    return new Apply(
      incoming,
      options,
      { ...made, journal, before: holds, began, broughtBefore: null, mark },
      env,
    );
  }

  /** Continues the apply of an earlier session. */
  static continue(
    incoming: IncomingStream,
    options: ApplyOptions,
    { journal, point, before }: ResumableApply,
    env: Surroundings,
  ): Apply {
    const made = makeApplier(options, incoming.header, journal, { before, foundBefore: point });
    const { changedBytes: broughtBefore } = point;
    const session = { ...made, journal, before, began: begunAt(env), broughtBefore, mark: null };
    return new Apply(incoming, options, session, env);
  }

  /** Continues a full copy, which has only the record and no journal. */
  static continueCopy(
    incoming: IncomingStream,
    options: ApplyOptions,
    copied: CopiedPlace,
    env: Surroundings,
  ): Apply {
    const made = makeApplier(options, incoming.header, null, { before: null });
    const { since: began, changedBytes: broughtBefore } = copied;
    const nothing = { journal: null, before: null, mark: null };
    const apply = new Apply(incoming, options, { ...made, ...nothing, began, broughtBefore }, env);
    apply.copied = copied;
    return apply;
  }

  async run(items: IncomingItems): Promise<ReceiveSummary> {
    this.env.progress.advance(this.session.broughtBefore ?? 0);
    for (let item = await items.next(); item !== null; item = await items.next()) {
      if (item instanceof BlockBatch) await this.takeBatch(item);
      else await this.takeMark(item);
    }
    await this.session.applier.finish();
    const missing = this.session.wants?.findMissing() ?? null;
    if (missing !== null) {
      const problem = `${missing.length} bytes at byte ${missing.offset} were asked for in full, but never sent`;
      throw new FormatError('stream', 0, 'section', problem);
    }
    const suspect = await this.finish();
    const { blocks } = this.session.applier;
    const mismatches = countUnexpected(this.incoming.header, this.session.before, this.findings());
    const found = { blocks, mismatches, suspect, verified: this.verified };
    return summaryOf(this.incoming, found, this.changedBytes, this.options.target.device.size);
  }

  /**
   * Once the journal has ended, the apply is complete, whatever else goes wrong. Returns why the rest of the target is
   * in doubt. `--force=base` keeps that from the exit status, but not from the record.
   */
  private async finish(): Promise<string | null> {
    const { policy } = this.options;
    const { device, finish } = this.options.target;
    const { journal } = this.session;
    await this.checkStillAlone();
    const problem = (await journal?.commit(this.isUndoNameless(journal))) ?? null;
    this.isDone = true;
    if (problem !== null) this.env.notice(`${device.path}: all of it is written; ${problem}`);
    await finish?.();
    const { isNameless } = this;
    const { applier, before, mark } = this.session;
    const applied = {
      header: this.headerAtEnd(),
      before,
      isNameless,
      blocks: applier.blocks,
      found: this.findings(),
      mark,
    };
    const { state, suspicion } = await recordResult(this.options.target, applied, this.env);
    this.verified = verifiedBy(state?.proved);
    return policy.forceBase ? null : suspicion;
  }

  private findings(): RunFindings {
    const { audit, isNameless, options } = this;
    const { applier, began, broughtBefore } = this.session;
    const { mismatches, doubts, failures, reverted } = applier;
    return {
      ...{ mismatches, doubts, reverted, began, ...(audit?.findings() ?? { failures, strays: 0 }) },
      // The target may keep unknown blocks outside the changes, so the audit proves nothing then.
      audited: isNameless ? null : (audit?.extent ?? null),
      isContinued: broughtBefore !== null,
      isForced: options.policy.forceBase || isNameless,
    };
  }

  /** The header with the entries that its table has gained meanwhile: another stream must cover those, too. */
  private headerAtEnd(): StreamHeader | null {
    const { header } = this.incoming;
    if (header?.table === undefined) return header;
    const grownBytes = Math.max(0, this.laterBytes - (this.session.wants?.bytes ?? 0));
    const entries = header.table.entries + Math.ceil(grownBytes / header.blockSize);
    return { ...header, table: { ...header.table, entries } };
  }

  private async checkStillAlone(): Promise<void> {
    this.isShared = true;
    await this.options.target.checkStillAlone();
    this.isShared = false;
  }

  private isUndoNameless({ before }: Journal): boolean {
    return this.isNameless || !isBorneOut(this.incoming.header, before, this.findings());
  }

  /** Leaves the target so that it can be taken back, and returns its condition in words. */
  async abandon(): Promise<string> {
    const { device, record, recoverWords } = this.options.target;
    if (this.isDone)
      return `${device.path}: the copy is complete, but still has its temporary name: ${IN_THE_WAY}`;
    await this.session.applier.abandon();
    const { hasWritten } = this.session.applier;
    if (!this.isShared) await this.checkStillAlone().catch(() => undefined);
    // Flush what was written: a crash now must not lose what the journal says is on the target.
    const flushed = await device.flush().then(
      () => record.stamp(),
      () => null,
    );
    // A target that others may have written to must not be relied on.
    const stamp = this.isShared ? null : flushed;
    if (
      this.session.journal === null &&
      isOverwriting(this.incoming.header) &&
      (hasWritten || this.copied !== null)
    ) {
      await this.leaveHalfCopied(stamp);
      return `${device.path}: ${HALF_COPIED}`;
    }
    const run = this.incoming.header?.run ?? null;
    const isStarted = (await this.session.journal?.abandon(hasWritten, stamp, run)) ?? hasWritten;
    if (!isStarted) {
      // Restore the record, which this apply had changed when it began.
      await record.putBack().catch(() => undefined);
      const isHalf = this.session.before?.is === 'copying';
      return `${device.path}: nothing was written to it${isHalf ? `, ${STILL_HALF_COPIED}` : ''}`;
    }
    if (this.isShared) await record.forget().catch(() => undefined);
    if (this.session.journal === null)
      return `${device.path}: half-written, without a journal: run the transfer again`;
    const path = this.session.journal.log.path;
    const foreign = this.isShared
      ? '; what others wrote stays there: "lvmsync --scan" then sends whatever differs'
      : '';
    return `${device.path}: half-written; "${recoverWords}" takes it back (the old bytes are in ${path})${foreign}`;
  }

  /** Records how far the copy came, and a stamp that shows later writes, so that another run can continue the copy. */
  private async leaveHalfCopied(stamp: string | null): Promise<void> {
    if (this.isShared) this.copied = null;
    if (this.isShared || stamp !== null) await this.recordCopied().catch(() => undefined);
  }

  private async takeMark(mark: Mark): Promise<void> {
    if (mark.kind === 'checkpoint') await this.makeDurable(mark);
    else if (mark.kind === 'resume') throw unexpectedResume(mark);
    else if (mark.kind === 'nameless') this.isNameless = true;
    else if (mark.kind === 'audit') this.audit = await ReceivedAudit.begin(mark, this.session.applier);
    // A new pass needs nothing else: the applier orders overlapping blocks by itself.
    else this.isFirstPass = false;
  }

  private async takeBatch(batch: BlockBatch): Promise<void> {
    if (this.room.covers(this.changedBytes + batch.sum().mostBytes)) await this.takePart(batch);
    // How much space is left for a part shows only when the parts before it are written.
    else for (const part of batch.parts()) await this.takePart(part);
  }

  private async takePart(batch: BlockBatch): Promise<void> {
    const { bytes, mostBytes } = batch.sum();
    try {
      await this.containers?.check(batch);
      await this.admit(mostBytes);
    } catch (error) {
      batch.release();
      throw error;
    }
    await this.session.applier.apply(batch);
    this.changedBytes += bytes;
    if (!this.isFirstPass) this.laterBytes += bytes;
    this.env.progress.advance(bytes);
  }

  /** If more comes than was announced, checks for space before it is written. */
  private async admit(length: number): Promise<void> {
    checkKept(this.options.policy, this.incoming.header);
    if (this.room.covers(this.changedBytes + length)) return;
    // Otherwise the space for unfinished writes would be counted as free.
    await this.session.applier.finish();
    await this.room.extend(this.changedBytes, length);
  }

  private async makeDurable({ frame, token }: Extract<Mark, { kind: 'checkpoint' }>): Promise<void> {
    // The writer of a pipe gets no answers, so that nothing can be resumed.
    if (this.options.durable === undefined) return;
    // A checkpoint without a token is not a place to continue from: it only asks which extents are needed in full.
    if (token.length === 0) await this.session.applier.finish();
    else await this.makePlace(token);
    await this.options.durable(frame, token.length > 0);
  }

  private async makePlace(token: Buffer): Promise<void> {
    await this.session.applier.checkpoint({ token, changedBytes: this.changedBytes });
    // Extents that were asked for in full are before this place, and have not come.
    if (
      this.session.journal !== null ||
      !isOverwriting(this.incoming.header) ||
      this.session.wants?.hasAny === true
    )
      return;
    this.copied = { token, changedBytes: this.changedBytes, since: this.session.began };
    await this.recordCopied();
  }

  private async recordCopied(): Promise<void> {
    const { header } = this.incoming;
    await this.options.target.record.write(stateDuring(header, null), header?.run ?? null, this.copied);
  }
}

function begunAt({ now }: Pick<Surroundings, 'now'>): string {
  return now().toISOString();
}

/** The error for an R frame that is wrong here. */
export function unexpectedResume({ token }: Extract<Mark, { kind: 'resume' }>): FormatError {
  const what = token.length === 0 ? 'all of it' : 'its beginning';
  return new FormatError('stream', 0, 'R frame', `it says that ${what} is here already, which is not so`);
}
