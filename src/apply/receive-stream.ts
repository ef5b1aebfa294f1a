import type { ByteSource, LendBuffer } from '../bytes/byte-channel.js';
import { BaseMismatchError, FormatError, type LvmsyncError } from '../errors.js';
import { isThere } from '../host/durable-file.js';
import { interruptible } from '../host/interruption.js';
import type { Surroundings } from '../host/surroundings.js';
import { BlockBatch } from '../stream/batches/batch.js';
import { openIncomingStream, type IncomingStream, IncomingItems } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { isOverwriting, type ApplyPolicy } from '../targets/apply-policy.js';
import { ContainerGuard } from '../targets/container-image.js';
import { NOTHING_VERIFIED, verifiedBy } from '../targets/coverage.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { CopiedPlace, KnownState } from '../targets/state-record.js';
import { Apply, HALF_COPIED, unexpectedResume, type ApplyOptions } from './apply-stream.js';
import { summaryOf, type ReceiveSummary } from './receive-summary.js';
import {
  lookCloser,
  planFor,
  type Planned,
  type StreamMeetsTarget,
  type TargetOfStream,
} from './check-target.js';
import type { WriteBlocks } from './plans/plan-apply.js';
import { planRun, type RunPlan } from './plans/plan-run.js';
import { describeRecovery, recoverTarget, settleEarlierApply } from './recover.js';
import { findUnfinished, type ResumableApply } from './unfinished-apply.js';

const NO_TOKEN = Buffer.alloc(0);

/** What is known about the target before the first write. */
export interface FoundTarget {
  /** Bytes. */
  readonly size: number;
  readonly known: KnownState;
  /**
   * The token of the place up to which the target holds this same stream; empty: it holds all of it; null: nothing of
   * it.
   */
  readonly resume: Buffer | null;
}

/** A stream, what it is applied to, and how. */
export interface ReceiveOptions extends ApplyOptions, TargetOfStream {
  /** Whether old bytes of an earlier apply were just written back to the target. */
  readonly isTakenBack?: boolean;
  /** Called and awaited when the target has passed all checks, before the first write. */
  readonly ready?: (found: FoundTarget) => Promise<void>;
}

/** Opens a stream that is meant for a target. Throws as `openIncomingStream`. */
export async function openStreamFor(
  { device: { path, size } }: OpenTarget,
  { source, what }: { readonly source: ByteSource; readonly what: string },
  env: Surroundings,
  lend: LendBuffer,
): Promise<IncomingStream> {
  const end = { path, size, notice: env.notice };
  return await openIncomingStream(interruptible(source, env.signal), lend, what, end);
}

/** Opens a stream from `source` and applies it: see `applyIncoming`. */
export async function receiveStream(
  source: ByteSource,
  options: ReceiveOptions,
  env: Surroundings,
  lend: LendBuffer,
): Promise<ReceiveSummary> {
  const incoming = await openStreamFor(options.target, { source, what: options.what }, env, lend);
  return await applyIncoming(incoming, options, env);
}

/**
 * Applies a stream to a target. Returns once all of it, including its end frame, is on stable storage. First takes back
 * an unfinished earlier apply, or continues it.
 *
 * Throws before the first write: UnsafeTargetError if there is not enough space in the target, its snapshots or for its
 * journal, BaseMismatchError if the target holds another state or volume, UsageError if a file's name is taken, or old
 * bytes would not be kept although they must be. Throws TruncatedStreamError, FormatError, DeviceError,
 * BaseMismatchError or InterruptedError at any later point: a notice then says what is left.
 */
export async function applyIncoming(
  incoming: IncomingStream,
  options: ReceiveOptions,
  env: Surroundings,
): Promise<ReceiveSummary> {
  const earlier = await seeToEarlierApply(incoming.header, options, env);
  const receiving = new Receiving(incoming, options, earlier, env);
  try {
    return await receiving.run();
  } catch (error) {
    env.progress.stop();
    const state = await receiving.abandon();
    if (state !== null) env.notice(state);
    throw error;
  } finally {
    env.progress.stop();
    receiving.items.drop();
  }
}

/** What applying a stream would do, and what came of the stream. */
export interface PlannedStream {
  readonly plan: RunPlan;
  readonly summary: ReceiveSummary;
}

/**
 * Says what applying a stream would do, and writes nothing: plans it by the stream's beginning, then reads and checks
 * all of the rest. Where the plan refuses, the rest is not read. Throws what reading the stream and the target throws.
 */
export async function planIncoming(
  incoming: IncomingStream,
  options: TargetOfStream,
  env: Surroundings,
): Promise<PlannedStream> {
  const { header } = incoming;
  const { device } = options.target;
  const items = new IncomingItems(incoming.blocks);
  let blocks = 0;
  let changedBytes = 0;
  const summary = () => {
    const found = { blocks, mismatches: 0, suspect: null, verified: NOTHING_VERIFIED };
    return summaryOf(incoming, found, changedBytes, device.size);
  };
  try {
    const next = { header, policy: options.policy, canContinue: incoming.asks };
    const earlier = await findUnfinished(options.target, { evenIfChanged: false, next }, env);
    const nothingBefore = { savedBefore: 0, isTakenBack: false };
    const planned = await planFor({ header, items }, { ...options, asks: true }, nothingBefore, env);
    const run = planRun(earlier, planned.plan);
    const isRefused = run.refusals.length > 0;
    const refusals = isRefused ? run.refusals : await findMore(planned, items, { ...options, header }, env);
    const plan = { ...run, refusals };
    if (refusals.length > 0) return { plan, summary: summary() };
    const containers = ContainerGuard.for(device, header);
    for (let item = await items.next(); item !== null; item = await items.next()) {
      if (!(item instanceof BlockBatch)) continue;
      try {
        await containers?.check(item);
        const sum = item.sum();
        blocks += sum.blocks;
        changedBytes += sum.bytes;
      } finally {
        item.release();
      }
    }
    return { plan, summary: summary() };
  } finally {
    items.drop();
  }
}

/** What speaks against a plan that refuses nothing, as a closer look finds out. */
async function findMore(
  planned: Planned,
  items: IncomingItems,
  options: StreamMeetsTarget,
  env: Surroundings,
): Promise<readonly LvmsyncError[]> {
  const { looksCloser, warnings } = planned.plan;
  for (const warning of warnings) env.notice(warning);
  try {
    if (looksCloser) await lookCloser(planned, items, options, env);
    return [];
  } catch (error) {
    if (error instanceof BaseMismatchError) return [error];
    throw error;
  }
}

/** What was done about an earlier apply. */
interface SeenTo {
  readonly resumable: ResumableApply | null;
  /** Whether old bytes were written back. */
  readonly isTakenBack: boolean;
}

/**
 * Takes an earlier apply back, or to a place where it can continue. A notice says so. Throws if the stream cannot follow
 * it.
 */
async function seeToEarlierApply(
  header: StreamHeader | null,
  { target, policy, isSession }: ReceiveOptions,
  env: Surroundings,
): Promise<SeenTo> {
  const outcome = await settleEarlierApply(target, { header, policy, canContinue: isSession }, env);
  const { kind } = outcome;
  if (kind !== 'nothing to do' && kind !== 'half copied' && kind !== 'half written')
    env.notice(describeRecovery(target.device.path, outcome));
  return {
    resumable: kind === 'resumable' ? outcome.apply : null,
    isTakenBack: (kind === 'resumable' || kind === 'taken back') && outcome.bytes > 0,
  };
}

/** From the stream's sample to its end. */
class Receiving {
  private apply: Apply | null = null;
  private offered: Buffer | null = null;
  /** How far an earlier session came with the same copy. */
  private copied: CopiedPlace | null = null;

  readonly items: IncomingItems;
  /** An earlier apply that can be resumed, until it is taken back. */
  private resumable: ResumableApply | null;

  constructor(
    private readonly incoming: IncomingStream,
    private readonly options: ReceiveOptions,
    private readonly earlier: SeenTo,
    private readonly env: Surroundings,
  ) {
    this.items = new IncomingItems(incoming.blocks);
    this.resumable = earlier.resumable;
  }

  async run(): Promise<ReceiveSummary> {
    const { incoming, items, options, env } = this;
    const { header } = incoming;
    const savedBefore = this.resumable?.point.changedBytes ?? 0;
    const earlier = { savedBefore, isTakenBack: this.earlier.isTakenBack || options.isTakenBack === true };
    const planned = await planFor({ header, items }, options, earlier, env);
    const { refusals, warnings, looksCloser, write } = planned.plan;
    const [refusal] = refusals;
    if (refusal !== undefined) throw refusal;
    await this.offer(planned.facts.known);
    for (const warning of warnings) env.notice(warning);
    if (looksCloser) await lookCloser(planned, items, { ...options, header }, env);
    env.progress.start(write.bytes ?? 0);
    if (await this.isAllThere()) return await this.expectNothing();
    this.apply ??= await this.beginAnew(write);
    return await this.apply.run(items);
  }

  /**
   * Leaves the target so that it can be taken back, or the apply continued. Returns its condition in words, or null.
   */
  async abandon(): Promise<string | null> {
    const apply = this.apply ?? (this.resumable === null ? null : this.goOn(this.resumable));
    if (apply !== null) return await apply.abandon();
    const { target } = this.options;
    if (!isOverwriting(this.incoming.header)) return null;
    const known = await target.record.read().catch(() => null);
    return known?.holds?.is === 'copying' ? `${target.device.path}: ${HALF_COPIED}` : null;
  }

  /** Tells the sender what is here already. */
  private async offer(known: KnownState): Promise<void> {
    const { incoming, options, resumable } = this;
    const isDone = options.isSession && (await isDoneAlready(known, incoming.header, options.policy));
    if (options.isSession && isSameCopy(known, incoming.header)) this.copied = known.copied ?? null;
    this.offered = isDone ? NO_TOKEN : (resumable?.point.token ?? this.copied?.token ?? null);
    await options.ready?.({ size: options.target.device.size, known, resume: this.offered });
  }

  /** Reads the sender's answer to the offer; true: everything is already here. */
  private async isAllThere(): Promise<boolean> {
    if (this.offered === null) return false;
    const first = await this.items.next();
    if (first === null || first instanceof BlockBatch || first.kind !== 'resume') {
      if (first !== null) this.items.putBack(first);
      return false;
    }
    if (!this.offered.equals(first.token)) throw unexpectedResume(first);
    if (this.resumable !== null) this.apply = this.goOn(this.resumable);
    else if (this.copied === null) return true;
    else this.apply = Apply.continueCopy(this.incoming, this.options, this.copied, this.env);
    return false;
  }

  private goOn(resumable: ResumableApply): Apply {
    return Apply.continue(this.incoming, this.options, resumable, this.env);
  }

  /** Everything is sent, because there was no offer or the sender did not accept it. */
  private async beginAnew({ keeps }: WriteBlocks): Promise<Apply> {
    const { target } = this.options;
    if (this.resumable !== null) {
      const { journal, before } = this.resumable;
      await journal.log.close();
      this.resumable = null;
      const recovered = await recoverTarget(target, this.env, { before });
      this.env.notice(describeRecovery(target.device.path, recovered));
    }
    return await Apply.begin(this.incoming, this.options, keeps, this.env);
  }

  /** Expects no blocks, because the target already holds the result. */
  private async expectNothing(): Promise<ReceiveSummary> {
    const { incoming, items, options } = this;
    const item = await items.next();
    if (item !== null) {
      items.putBack(item);
      throw new FormatError(options.what, 0, 'frame', 'unexpected: nothing was left to send');
    }
    const bytes = incoming.header?.expectedBytes ?? 0;
    // The doubt of the run whose report was lost is reported, too.
    const { holds } = await options.target.record.read();
    const suspect = options.policy.forceBase ? null : await options.target.record.suspicion();
    const found = { blocks: 0, mismatches: 0, suspect, verified: verifiedBy(holds?.proved) };
    return summaryOf(incoming, found, bytes, options.target.device.size);
  }
}

/**
 * Whether an earlier session of the same run did everything, and only its report was lost. The record of another run is
 * not enough to skip everything: it cannot know about writes underneath the target.
 */
async function isDoneAlready(
  { holds, run }: KnownState,
  header: StreamHeader | null,
  { snapback }: ApplyPolicy,
): Promise<boolean> {
  if (run === null || run !== header?.run || header.result === null || holds?.is !== 'exactly') return false;
  if (holds.identity !== header.result || holds.from !== header.base) return false;
  return snapback === null || (await isThere(snapback));
}

/** Whether the interrupted apply was a copy of the same state. The sender has to prove that the bytes are the same. */
function isSameCopy({ holds }: KnownState, header: StreamHeader | null): boolean {
  return holds?.is === 'copying' && isOverwriting(header) && holds.identity === header?.result;
}
