import { BufferPool } from '../device/aligned-memory.js';
import { FormatError } from '../errors.js';
import type { Extent } from '../extent.js';
import { makerOf, type Surroundings } from '../host/surroundings.js';
import type { StreamItem } from '../stream/block.js';
import type { IncomingStream } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { Applier } from '../target/applier.js';
import { checkKept, isOverwriting, keepsOldBytes, type ApplyPolicy } from '../target/apply-policy.js';
import {
  countUnexpected,
  isBorneOut,
  mustBeProved,
  stateDuring,
  type FoundContents,
} from '../target/apply-states.js';
import { releaseBlock } from '../target/block-run.js';
import { ContainerGuard } from '../target/container-image.js';
import { Journal } from '../target/journal.js';
import type { OpenTarget } from '../target/open-target.js';
import type { CopiedPlace, TargetState } from '../target/state-record.js';
import type { ResumableApply } from '../target/unfinished-apply.js';
import { RoomBudget } from '../target/room-budget.js';
import { undoHeader } from '../target/undo-header.js';
import { Wants } from '../target/wants.js';
import type { IncomingItems } from './incoming-items.js';
import { recordResult } from './record-result.js';

/** What the old bytes of a batch may take, beside the new ones. */
const OLD_BYTES_MEMORY = 12 * 1024 * 1024;

const IN_THE_WAY = 'see to what is in the way, and run it again';

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
  readonly targetSize: number;
  /** By the stream's header, null where it has none. */
  readonly volumeSize: number | null;
}

/** What is applied, to what, and how. */
export interface ApplyOptions {
  readonly target: OpenTarget;
  readonly policy: ApplyPolicy;
  /** Whether the sender hears what we say; a pipe's does not, so that the first failed proof must stop. */
  readonly isSession: boolean;
  /** Asks the sender for an extent whole, where it hears what we say. */
  readonly want?: (extent: Extent) => Promise<void>;
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
    /** What an earlier session brought. */
    private readonly broughtBefore = 0,
  ) {
    this.changedBytes = broughtBefore;
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
    const journal = keepsOldBytes(policy, header)
      ? await Journal.begin(
          folder,
          undoHeader(header, holds, device, makerOf(about)),
          policy.snapback,
          holds,
          await record.identity(),
        )
      : null;
    await record.write(stateDuring(header, holds));
    const wants = wantsOf(header, options);
    const applier = makeApplier(options, journal, wants, holds);
    return new Apply(incoming, options, journal, applier, wants, holds, about);
  }

  /** Goes on where an earlier session's apply stood. */
  static continue(
    incoming: IncomingStream,
    options: ApplyOptions,
    { journal, point, before }: ResumableApply,
    about: Surroundings,
  ): Apply {
    const wants = wantsOf(incoming.header, options);
    const applier = makeApplier(options, journal, wants, before, point);
    return new Apply(incoming, options, journal, applier, wants, before, about, point.changedBytes);
  }

  /** Goes on with a full copy, whose journal is the record alone. */
  static continueCopy(
    incoming: IncomingStream,
    options: ApplyOptions,
    copied: CopiedPlace,
    about: Surroundings,
  ): Apply {
    const wants = wantsOf(incoming.header, options);
    const applier = makeApplier(options, null, wants, null);
    const apply = new Apply(incoming, options, null, applier, wants, null, about, copied.changedBytes);
    apply.copied = copied;
    return apply;
  }

  async run(items: IncomingItems): Promise<ReceiveSummary> {
    this.about.progress.advance(this.broughtBefore);
    for (let item = await items.next(); item !== null; item = await items.next()) await this.take(item);
    await this.applier.finish();
    const missing = this.wants?.findMissing() ?? null;
    if (missing !== null) {
      const problem = `the ${missing.length} bytes from ${missing.offset} were wanted whole, and never came`;
      throw new FormatError('stream', 0, 'section', problem);
    }
    await this.finish();
    const { blocks } = this.applier;
    const mismatches = countUnexpected(this.incoming.header, this.before, this.applier.mismatches);
    const { size } = this.options.target.device;
    return summaryOf(this.incoming, { blocks, mismatches }, this.changedBytes, size);
  }

  /** From the end of the journal on the apply is done, whatever else goes wrong. */
  private async finish(): Promise<void> {
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
      found: applier,
    };
    await recordResult(this.options.target, applied, this.about);
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
    return this.isNameless || !isBorneOut(this.incoming.header, before, this.applier);
  }

  /** Leaves the target as it can be taken back, and says what that is. */
  async abandon(): Promise<string> {
    const { device, record, recoverWords } = this.options.target;
    if (this.isDone) return `${device.path}: the copy is whole, but has no other name yet: ${IN_THE_WAY}`;
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
      return `${device.path}: half-copied: run the copy again`;
    }
    const run = this.incoming.header?.run ?? null;
    const isStarted = (await this.journal?.abandon(hasWritten, stamp, run)) ?? hasWritten;
    if (!isStarted) {
      // Else the next run would take what is there for what this one began with.
      await record.putBack().catch(() => undefined);
      return `${device.path}: nothing was written to it`;
    }
    if (this.isShared) await record.forget().catch(() => undefined);
    if (this.journal === null)
      return `${device.path}: half-written, without a journal: run the transfer again`;
    const path = this.journal.log.path;
    const foreign = this.isShared
      ? '; what others wrote stays: "lvmsync --scan" sends whatever differs then'
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
    this.copied = { token, changedBytes: this.changedBytes };
    await this.recordCopied();
  }

  private async recordCopied(): Promise<void> {
    const { header } = this.incoming;
    await this.options.target.record.write(stateDuring(header, null), header?.run ?? null, this.copied);
  }
}

function makeApplier(
  { target, policy, isSession }: ApplyOptions,
  journal: Journal | null,
  wants: Wants | null,
  before: TargetState | null,
  foundBefore: FoundContents = { mismatches: 0, doubts: 0 },
): Applier {
  return new Applier(target.device, {
    ...(journal === null ? {} : { log: journal.log }),
    ...(wants === null ? {} : { wants }),
    lendOld: new BufferPool(OLD_BYTES_MEMORY).lend,
    stopOnMismatch: (policy.stopOnMismatch || !isSession) && !policy.forceBase,
    foundBefore,
    mustBeProved: mustBeProved(before),
  });
}

/** What a sender that hears us can be asked for. */
function wantsOf(header: StreamHeader | null, { want }: ApplyOptions): Wants | null {
  return header === null || want === undefined ? null : new Wants(header.volumeSize, want, header.unit);
}

/** An R frame that nobody here can do anything with. */
export function unexpectedResume({ token }: Extract<StreamItem, { kind: 'resume' }>): FormatError {
  const what = token.length === 0 ? 'that nothing is left to send' : 'that its beginning is here';
  return new FormatError('stream', 0, 'R frame', `it says ${what}, which it is not`);
}

export function summaryOf(
  { protocol, header }: IncomingStream,
  { blocks, mismatches }: { readonly blocks: number; readonly mismatches: number },
  changedBytes: number,
  targetSize: number,
): ReceiveSummary {
  return {
    protocol,
    expectedBytes: header?.expectedBytes ?? null,
    changedBytes,
    blocks,
    mismatches,
    targetSize,
    volumeSize: header?.volumeSize ?? null,
  };
}
