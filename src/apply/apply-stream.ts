import { randomBytes } from 'node:crypto';
import type { Applier } from '../engine/applier.js';
import { releaseBlock } from '../engine/block-run.js';
import type { Wants } from '../engine/wants.js';
import { FormatError } from '../errors.js';
import { makerOf, type Surroundings } from '../host/surroundings.js';
import { Journal } from '../journal/journal.js';
import type { StreamItem } from '../stream/block.js';
import type { IncomingStream, IncomingItems } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { checkKept, isOverwriting, keepsOldBytes } from '../targets/apply-policy.js';
import { ContainerGuard } from '../targets/container-image.js';
import { NOTHING_VERIFIED, verifiedBy, type Verified } from '../targets/coverage.js';
import { RoomBudget } from '../targets/room-budget.js';
import type { CopiedPlace, TargetState } from '../targets/state-record.js';
import { countUnexpected, isBorneOut, stateDuring, type RunFindings } from './apply-states.js';
import { undoHeader, makeApplier, wantsOf, type ApplierWish } from './make-applier.js';
import { ReceivedAudit, recordResult } from './record-result.js';
import type { ResumableApply } from './unfinished-apply.js';

export const HALF_COPIED = 'half-copied: run the copy again';
const STILL_HALF_COPIED = 'which is half-copied by an earlier run: run that copy again';
const IN_THE_WAY = 'remove what is in the way, and run it again';

/** What a stream did to a target. Sizes in bytes. */
export interface ReceiveSummary {
  readonly protocol: 3 | 4;
  /** What the stream's header expected, null where it has none. */
  readonly expectedBytes: number | null;
  /** What came as data, zeroes or discards. */
  readonly changedBytes: number;
  readonly blocks: number;
  /**
   * Blocks that the target held neither old nor new, and was not expected to; they are right now, as all of a block is
   * always sent.
   */
  readonly mismatches: number;
  /** Why what else the target holds is in doubt, as bytes were found that contradict what was known of it; or null. */
  readonly suspect: string | null;
  /** How much of the target is proved, and since when. */
  readonly verified: Verified;
  readonly targetSize: number;
  /** By the stream's header, null where it has none. */
  readonly volumeSize: number | null;
}

/** What is applied, to what, and how. */
export interface ApplyOptions extends ApplierWish {
  /** Told when all up to this frame is on stable storage, and whether another session can go on there. */
  readonly durable?: (frame: number, isPlace: boolean) => Promise<void>;
}

/** An apply under way: the blocks, the journal that takes them back, the record of the state. */
export class Apply {
  private changedBytes: number;
  private readonly room: RoomBudget;
  private readonly containers: ContainerGuard | null;
  /** How far a full copy has come. */
  private copied: CopiedPlace | null = null;
  /** Whether the stream does not lead to the state that its header names. */
  private isNameless = false;
  private isFirstPass = true;
  /** What came in passes after the first: what changed meanwhile, and what was wanted whole. */
  private laterBytes = 0;
  private audit: ReceivedAudit | null = null;
  private verified = NOTHING_VERIFIED;
  /** Whether the target was found not to be ours alone any more. */
  private isShared = false;
  /** Whether all of it is on stable storage, and nothing takes it back any more. */
  private isDone = false;

  private constructor(
    private readonly incoming: IncomingStream,
    private readonly options: ApplyOptions,
    private readonly journal: Journal | null,
    private readonly applier: Applier,
    private readonly wants: Wants | null,
    /** What was known of the target until then. */
    private readonly before: TargetState | null,
    private readonly about: Surroundings,
    /** When this session began, or the first one of a copy that it goes on with. */
    private readonly began: string | null,
    /** What an earlier session brought; null where there was none. */
    private readonly broughtBefore: number | null = null,
    /** What the undo and the record share, where the stream leads to a state without a name. */
    private readonly mark: string | null = null,
  ) {
    this.changedBytes = broughtBefore ?? 0;
    const { device } = options.target;
    this.room = new RoomBudget(device, incoming.header, about.spawner);
    this.containers = ContainerGuard.for(device, incoming.header);
  }

  /** Begins with a new journal, if there is to be one. Throws as `Journal.begin`. */
  static async begin(incoming: IncomingStream, options: ApplyOptions, about: Surroundings): Promise<Apply> {
    const { target, policy } = options;
    const { device, record, folder } = target;
    const { header } = incoming;
    const { holds } = await record.read();
    // What has no name goes on with none of an earlier session.
    const isMarked = header?.result === null && policy.snapback !== null;
    const mark = isMarked ? randomBytes(16).toString('hex') : null;
    const journal = keepsOldBytes(policy, header)
      ? await Journal.begin(
          folder,
          undoHeader(header, holds, device, makerOf(about), mark),
          policy.snapback,
          holds,
          await record.identity(),
        )
      : null;
    try {
      await record.write(stateDuring(header, holds));
    } catch (error) {
      await journal?.abandon(false, null, null);
      throw error;
    }
    const wants = wantsOf(header, options);
    const applier = makeApplier(options, header, journal, wants, holds);
    const began = begunAt(about);
    return new Apply(incoming, options, journal, applier, wants, holds, about, began, null, mark);
  }

  /** Goes on where an earlier session's apply stood. */
  static continue(
    incoming: IncomingStream,
    options: ApplyOptions,
    { journal, point, before }: ResumableApply,
    about: Surroundings,
  ): Apply {
    const wants = wantsOf(incoming.header, options);
    const applier = makeApplier(options, incoming.header, journal, wants, before, point);
    const began = begunAt(about);
    return new Apply(incoming, options, journal, applier, wants, before, about, began, point.changedBytes);
  }

  /** Goes on with a full copy, whose journal is the record alone. */
  static continueCopy(
    incoming: IncomingStream,
    options: ApplyOptions,
    copied: CopiedPlace,
    about: Surroundings,
  ): Apply {
    const wants = wantsOf(incoming.header, options);
    const applier = makeApplier(options, incoming.header, null, wants, null);
    const { since, changedBytes } = copied;
    const apply = new Apply(incoming, options, null, applier, wants, null, about, since, changedBytes);
    apply.copied = copied;
    return apply;
  }

  async run(items: IncomingItems): Promise<ReceiveSummary> {
    this.about.progress.advance(this.broughtBefore ?? 0);
    for (let item = await items.next(); item !== null; item = await items.next()) await this.take(item);
    await this.applier.finish();
    const missing = this.wants?.findMissing() ?? null;
    if (missing !== null) {
      const problem = `${missing.length} bytes at byte ${missing.offset} were asked for in full, but never sent`;
      throw new FormatError('stream', 0, 'section', problem);
    }
    const suspect = await this.finish();
    const { blocks } = this.applier;
    const mismatches = countUnexpected(this.incoming.header, this.before, this.findings());
    const found = { blocks, mismatches, suspect, verified: this.verified };
    return summaryOf(this.incoming, found, this.changedBytes, this.options.target.device.size);
  }

  /**
   * From the end of the journal on the apply is done, whatever else goes wrong. Returns why the rest of the target is
   * in doubt; the user's word that it may be goes for its exit status, but not for the record.
   */
  private async finish(): Promise<string | null> {
    const { policy } = this.options;
    const { device, finish } = this.options.target;
    const { journal } = this;
    await this.checkStillAlone();
    const problem = (await journal?.commit(this.isUndoNameless(journal))) ?? null;
    this.isDone = true;
    if (problem !== null) this.about.notice(`${device.path}: all of it is written; ${problem}`);
    await finish?.();
    const { applier, before, isNameless } = this;
    const applied = {
      header: this.headerAtEnd(),
      before,
      isNameless,
      blocks: applier.blocks,
      found: this.findings(),
      mark: this.mark,
    };
    const { state, suspicion } = await recordResult(this.options.target, applied, this.about);
    this.verified = verifiedBy(state?.proved);
    return policy.forceBase ? null : suspicion;
  }

  private findings(): RunFindings {
    const { applier, audit, began, isNameless, broughtBefore, options } = this;
    const { mismatches, doubts, failures, reverted } = applier;
    return {
      ...{ mismatches, doubts, reverted, began, ...(audit?.findings() ?? { failures, strays: 0 }) },
      // What is kept that nobody knows of is kept outside the changes.
      audited: isNameless ? null : (audit?.extent ?? null),
      isContinued: broughtBefore !== null,
      isForced: options.policy.forceBase || isNameless,
    };
  }

  /** The header with what its table grew by meanwhile: another stream must name that, too. */
  private headerAtEnd(): StreamHeader | null {
    const { header } = this.incoming;
    if (header?.table === undefined) return header;
    const grownBytes = Math.max(0, this.laterBytes - (this.wants?.bytes ?? 0));
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

  /** Leaves the target as it can be taken back, and says what that is. */
  async abandon(): Promise<string> {
    const { device, record, recoverWords } = this.options.target;
    if (this.isDone) return `${device.path}: the copy is complete, but still has its temporary name: ${IN_THE_WAY}`;
    await this.applier.abandon();
    const { hasWritten } = this.applier;
    if (!this.isShared) await this.checkStillAlone().catch(() => undefined);
    // What has been written stays written: a crash now shall not make it less than what the journal says.
    const flushed = await device.flush().then(
      () => record.stamp(),
      () => null,
    );
    // Nobody may count on what others may have written to.
    const stamp = this.isShared ? null : flushed;
    if (
      this.journal === null &&
      isOverwriting(this.incoming.header) &&
      (hasWritten || this.copied !== null)
    ) {
      await this.leaveHalfCopied(stamp);
      return `${device.path}: ${HALF_COPIED}`;
    }
    const run = this.incoming.header?.run ?? null;
    const isStarted = (await this.journal?.abandon(hasWritten, stamp, run)) ?? hasWritten;
    if (!isStarted) {
      // Else the next run would take what is there for what this one began with.
      await record.putBack().catch(() => undefined);
      const isHalf = this.before?.is === 'copying';
      return `${device.path}: nothing was written to it${isHalf ? `, ${STILL_HALF_COPIED}` : ''}`;
    }
    if (this.isShared) await record.forget().catch(() => undefined);
    if (this.journal === null)
      return `${device.path}: half-written, without a journal: run the transfer again`;
    const path = this.journal.log.path;
    const foreign = this.isShared
      ? '; what others wrote stays there: "lvmsync --scan" then sends whatever differs'
      : '';
    return `${device.path}: half-written; "${recoverWords}" takes it back (the old bytes are in ${path})${foreign}`;
  }

  /** Whoever writes from here on shows, so that another run can go on where this one was. */
  private async leaveHalfCopied(stamp: string | null): Promise<void> {
    if (this.isShared) this.copied = null;
    if (this.isShared || stamp !== null) await this.recordCopied().catch(() => undefined);
  }

  private async take(item: StreamItem): Promise<void> {
    if (item.kind === 'proof') this.applier.expect(item);
    else if (item.kind === 'section') {
      // For all of it: within one nothing may be waited for.
      await this.admit(item.length);
      await this.applier.openSection(item);
    } else if (item.kind === 'checkpoint') await this.makeDurable(item);
    else if (item.kind === 'resume') throw unexpectedResume(item);
    else if (item.kind === 'nameless') this.isNameless = true;
    else if (item.kind === 'audit') this.audit = await ReceivedAudit.begin(item, this.applier);
    else if (item.kind === 'next-pass') {
      this.isFirstPass = false;
      // Nothing else is needed of a new pass: the applier orders what overlaps by itself.
      this.applier.closeSection();
    } else {
      const { length } = item;
      try {
        await this.containers?.check(item);
        await this.admit(length);
      } catch (error) {
        releaseBlock(item);
        throw error;
      }
      await this.applier.apply(item);
      this.changedBytes += length;
      if (!this.isFirstPass) this.laterBytes += length;
      this.about.progress.advance(length);
    }
  }

  /** Where more comes than was announced, what takes it in is looked at before it is written. */
  private async admit(length: number): Promise<void> {
    checkKept(this.options.policy, this.incoming.header);
    if (this.room.covers(this.changedBytes + length)) return;
    // What is under way would be counted as room.
    await this.applier.finish();
    await this.room.extend(this.changedBytes, length);
  }

  private async makeDurable({ frame, token }: Extract<StreamItem, { kind: 'checkpoint' }>): Promise<void> {
    this.applier.closeSection();
    // A pipe's writer hears nothing, so that nothing can ever be taken up.
    if (this.options.durable === undefined) return;
    // One without a token is no place to go on from: it asks for what is wanted whole, and for no more.
    if (token.length === 0) await this.applier.finish();
    else await this.makePlace(token);
    await this.options.durable(frame, token.length > 0);
  }

  private async makePlace(token: Buffer): Promise<void> {
    await this.applier.checkpoint({ token, changedBytes: this.changedBytes });
    // What was wanted whole lies below, and has not come.
    if (this.journal !== null || !isOverwriting(this.incoming.header) || this.wants?.hasAny === true) return;
    this.copied = { token, changedBytes: this.changedBytes, since: this.began };
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

/** An R frame that nobody here can do anything with. */
export function unexpectedResume({ token }: Extract<StreamItem, { kind: 'resume' }>): FormatError {
  const what = token.length === 0 ? 'all of it' : 'its beginning';
  return new FormatError('stream', 0, 'R frame', `it says that ${what} is here already, which is not so`);
}

export function summaryOf(
  { protocol, header }: IncomingStream,
  {
    blocks,
    mismatches,
    suspect,
    verified,
  }: Pick<ReceiveSummary, 'blocks' | 'mismatches' | 'suspect' | 'verified'>,
  changedBytes: number,
  targetSize: number,
): ReceiveSummary {
  return {
    protocol,
    expectedBytes: header?.expectedBytes ?? null,
    changedBytes,
    blocks,
    mismatches,
    suspect,
    verified,
    targetSize,
    volumeSize: header?.volumeSize ?? null,
  };
}
