import type { ArchiveFacts, ArchiveKind, Archive } from '../archive/archive.js';
import type { ExtentTable } from '../archive/extent-table.js';
import { Layers } from '../archive/layers.js';
import { ArchiveProofs, JoinedProofs } from '../archive/proofs.js';
import type { Extent } from '../bytes/extent.js';
import { BaseMismatchError, UsageError } from '../errors.js';
import { openUndo, type Undo } from './states.js';

/** Several archives as one: the same effect as applying them one after another, but each byte is written once. */
export interface Combination {
  /** In the order in which they would be applied. An extent's `source` is an index into this list. */
  readonly archives: readonly ArchiveFacts[];
  readonly kind: ArchiveKind;
  /** The volume's size: the largest that any of them knows. Bytes. */
  readonly volumeSize: number;
  /** A granularity that all their extents are multiples of. Bytes. */
  readonly blockSize: number;
  /**
   * The identities of the first one's base and of the last one's result; null if unknown. If anything was assumed, the
   * result has no identity.
   */
  readonly base: string | null;
  readonly result: string | null;
  /** The mark of a base without a name, if the first one has it. */
  readonly mark?: string;
  /** Ascending, without overlaps: for each byte, where the last archive that has it keeps its contents. */
  readonly extents: ExtentTable;
  /** Bytes of all extents. */
  readonly bytes: number;
  /** What could not be checked, one sentence each: the given order was assumed to be right. */
  readonly believed: readonly string[];
}

/** What a user knows better. */
export interface CombinationWish {
  /** Accept the given order even if identities contradict it. */
  readonly forceBase?: boolean;
}

/** Plans the combination of archives that are all given at once: see `CombinationPlanner`. */
export function planCombination(archives: readonly Archive[], wish: CombinationWish = {}): Combination {
  const planner = new CombinationPlanner(wish);
  for (const archive of archives) planner.add(archive);
  return planner.plan();
}

/**
 * Plans the combination of archives that are given one by one, in the order in which they would be applied: the undo
 * of the last apply comes first. Each one's result must be the next one's base; if one of the two is not known, the
 * order is assumed to be right unless their times contradict it, and `believed` says so. Reads no data; memory depends on the visible extents only.
 */
export class CombinationPlanner {
  private readonly archives: ArchiveFacts[] = [];
  private readonly layers = new Layers();
  private readonly believed: string[] = [];

  constructor(private readonly wish: CombinationWish = {}) {}

  /**
   * Throws BaseMismatchError, which names both files, if the archive does not follow the one before by its states, or
   * where those have no names by its time; UsageError if it does not go in the same direction.
   */
  add({ extents, ...archive }: Archive): void {
    refuseParts(archive);
    const [first] = this.archives;
    const before = this.archives.at(-1);
    if (first !== undefined && before !== undefined) {
      checkWay(first, archive);
      this.believed.push(...checkMeeting(before, archive, this.wish.forceBase === true));
    }
    this.archives.push(archive);
    this.layers.add(extents);
  }

  /** Whether any of the archives so far changes part of an extent. */
  changes(extent: Extent): boolean {
    return this.layers.touch(extent);
  }

  /** Throws UsageError if there is no archive. */
  plan(): Combination {
    const { archives, believed } = this;
    const [first] = archives;
    if (first === undefined) throw new UsageError('missing argument: at least one archive');
    const extents = this.layers.seen();
    return {
      archives,
      kind: first.kind,
      volumeSize: archives.reduce((most, { volumeSize }) => Math.max(most, volumeSize), 0),
      blockSize: archives.map(({ blockSize }) => blockSize).reduce(commonDivisor),
      base: first.base,
      // If an archive may be missing in between, the base alone must not let the combination be applied.
      ...(first.header?.mark === undefined || believed.length > 0 ? {} : { mark: first.header.mark }),
      // A result's name would count as known when the combination is applied.
      result: believed.length === 0 ? (archives.at(-1)?.result ?? null) : null,
      extents,
      bytes: extents.bytes,
      believed,
    };
  }
}

/** Parts of chunks can be trusted only with the checksums of their sections, which a combination does not have. */
function refuseParts({ path, header }: ArchiveFacts): void {
  if (header?.unit === undefined) return;
  throw new UsageError(
    `${path}: it contains only the changed parts of chunks: to combine archives, write them with --whole-chunks`,
  );
}

function checkWay(first: ArchiveFacts, archive: ArchiveFacts): void {
  const isSame = archive.kind === first.kind && archive.kind !== 'full';
  if (isSame || (first.kind === 'full' && archive.kind === 'changes')) return;
  throw new UsageError(
    `${archive.path} (${archive.kind}) cannot follow ${first.path} (${first.kind}): archives can be combined only if they go in the same direction`,
  );
}

/** What had to be assumed about two archives that follow each other. */
function checkMeeting(before: ArchiveFacts, after: ArchiveFacts, isForced: boolean): string[] {
  const { result } = before;
  const { base } = after;
  if (result !== null && base !== null && result === base) return [];
  const inOrder = `the order must be that in which they would be applied${after.kind === 'undo' ? ', the newest first' : ''}`;
  if (result !== null && base !== null && !isForced) {
    const problem = `it starts from ${base}, but ${before.path} leads to ${result}: it does not continue that archive`;
    const advice = `${inOrder}; if you are sure that it does, use --force=base`;
    throw new BaseMismatchError(after.path, null, `${problem}: ${advice}`);
  }
  if (isAgainstTime(before, after) && !isForced) {
    const [than, time] = [after.kind === 'undo' ? 'later' : 'earlier', after.header?.time ?? ''];
    const problem = `its time (${time}) is ${than} than that of ${before.path}, so it seems to belong before that one`;
    const advice = `${inOrder}; if this order is right, and a clock was wrong, use --force=base`;
    throw new BaseMismatchError(after.path, null, `${problem}: ${advice}`);
  }
  const why = result !== null && base !== null ? 'their identities differ' : whyUnknown(before, after);
  return [
    `${before.path} and ${after.path}: nothing proves that the second continues the first (${why}): the given order is assumed to be right`,
  ];
}

/** Whether two archives are given in the opposite order of their times: undos go back in time. */
function isAgainstTime(before: ArchiveFacts, after: ArchiveFacts): boolean {
  const [first, second] = [Date.parse(before.header?.time ?? ''), Date.parse(after.header?.time ?? '')];
  return after.kind === 'undo' ? first < second : first > second;
}

function whyUnknown(before: ArchiveFacts, after: ArchiveFacts): string {
  const proto3 = [before, after].find(({ protocol }) => protocol === 3);
  if (proto3 !== undefined) return `${proto3.path} is PROTO[3], which does not record states`;
  return before.result === null
    ? `${before.path} leads to a state without a name`
    : `${after.path} starts from a state without a name`;
}

function commonDivisor(left: number, right: number): number {
  return right === 0 ? left : commonDivisor(right, left % right);
}

/** Undos as one, with what they say about its base. */
export interface PlannedUndos {
  readonly plan: Combination;
  readonly proofs: ArchiveProofs;
}

/**
 * Plans undos as one, in the order in which they are applied. Each is opened once, and all of it read and checked once,
 * before the next one. Throws as `openUndo` and `ArchiveProofs.read`; BaseMismatchError, UsageError as
 * `CombinationPlanner`; the signal's reason.
 */
export async function planUndos(undos: readonly Undo[], signal: AbortSignal): Promise<PlannedUndos> {
  const planner = new CombinationPlanner();
  const joined = new JoinedProofs();
  for (const undo of undos) {
    signal.throwIfAborted();
    const archive = await openUndo(undo);
    joined.add(await ArchiveProofs.read(archive), (extent) => planner.changes(extent));
    planner.add(archive);
  }
  return { plan: planner.plan(), proofs: joined.join() };
}
