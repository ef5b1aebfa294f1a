import type { ArchiveFacts, ArchiveKind, Archive } from '../archive/archive.js';
import type { ExtentTable } from '../archive/extent-table.js';
import { Layers } from '../archive/layers.js';
import { ArchiveProofs, JoinedProofs } from '../archive/proofs.js';
import type { Extent } from '../bytes/extent.js';
import { BaseMismatchError, UsageError } from '../errors.js';
import { openUndo, type Undo } from './states.js';

/** Several archives as one: what has the effect of applying them one after another, each byte once. */
export interface Combination {
  /** In the order in which they would be applied. An extent's `source` is an index into these. */
  readonly archives: readonly ArchiveFacts[];
  readonly kind: ArchiveKind;
  /** Of the volume: the largest that any of them knows. Bytes. */
  readonly volumeSize: number;
  /** A granularity in which all their extents lie. Bytes. */
  readonly blockSize: number;
  /** The identities of the first one's base and of the last one's result, or null: that of what is believed is none. */
  readonly base: string | null;
  readonly result: string | null;
  /** Of a base without a name, where the first one has it. */
  readonly mark?: string;
  /** Ascending, without overlaps: of each byte, where the last archive that has it keeps its contents. */
  readonly extents: ExtentTable;
  /** Bytes of all extents. */
  readonly bytes: number;
  /** What nobody could check, a sentence for each: where the order that was given had to be believed. */
  readonly believed: readonly string[];
}

/** What a user knows better. */
export interface CombinationWish {
  /** Believe the order that was given also where identities contradict it. */
  readonly forceBase?: boolean;
}

/** Plans the combination of archives that are given at once: see `CombinationPlanner`. */
export function planCombination(archives: readonly Archive[], wish: CombinationWish = {}): Combination {
  const planner = new CombinationPlanner(wish);
  for (const archive of archives) planner.add(archive);
  return planner.plan();
}

/**
 * Plans the combination of archives that are given one by one, in the order in which they would be applied: of undos,
 * that of the last apply comes first. Each one's result must be the next one's base; where one of the two is not known,
 * the order is believed, and `believed` says so. Reads no data; memory goes by what is seen of all the archives.
 */
export class CombinationPlanner {
  private readonly archives: ArchiveFacts[] = [];
  private readonly layers = new Layers();
  private readonly believed: string[] = [];

  constructor(private readonly wish: CombinationWish = {}) {}

  /**
   * Throws BaseMismatchError, which names both files, where it does not meet the one before; UsageError where it does not
   * go the same way.
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

  /** Whether any of the archives so far changes some of an extent. */
  changes(extent: Extent): boolean {
    return this.layers.touch(extent);
  }

  /** Throws UsageError where there is no archive. */
  plan(): Combination {
    const { archives, believed } = this;
    const [first] = archives;
    if (first === undefined) throw new UsageError('name at least one archive');
    const extents = this.layers.seen();
    return {
      archives,
      kind: first.kind,
      volumeSize: archives.reduce((most, { volumeSize }) => Math.max(most, volumeSize), 0),
      blockSize: archives.map(({ blockSize }) => blockSize).reduce(commonDivisor),
      base: first.base,
      // Where one may be missing in between, what it starts from is not enough to let it in.
      ...(first.header?.mark === undefined || believed.length > 0 ? {} : { mark: first.header.mark }),
      // A name would be taken for known by whoever applies it.
      result: believed.length === 0 ? (archives.at(-1)?.result ?? null) : null,
      extents,
      bytes: extents.bytes,
      believed,
    };
  }
}

/** Parts of chunks are right only behind the checksums of what they are parts of, which no combination has. */
function refuseParts({ path, header }: ArchiveFacts): void {
  if (header?.unit === undefined) return;
  throw new UsageError(
    `${path}: it holds only the parts that changed of what its source tracks: write it with --whole-chunks to combine it`,
  );
}

function checkWay(first: ArchiveFacts, archive: ArchiveFacts): void {
  const isSame = archive.kind === first.kind && archive.kind !== 'full';
  if (isSame || (first.kind === 'full' && archive.kind === 'changes')) return;
  throw new UsageError(
    `${archive.path} (${archive.kind}) cannot follow ${first.path} (${first.kind}): archives that are combined go the same way`,
  );
}

/** What had to be believed of two archives that follow each other. */
function checkMeeting(before: ArchiveFacts, after: ArchiveFacts, isForced: boolean): string[] {
  const { result } = before;
  const { base } = after;
  if (result !== null && base !== null && result === base) return [];
  if (result !== null && base !== null && !isForced) {
    const problem = `it starts from ${base}, while ${before.path} leads to ${result}: the two do not meet`;
    throw new BaseMismatchError(after.path, null, `${problem}; if you know better: --force=base`);
  }
  const why = result !== null && base !== null ? 'their identities differ' : whyUnknown(before, after);
  return [
    `${before.path} and ${after.path}: nothing proves that they meet (${why}): the order given is believed`,
  ];
}

function whyUnknown(before: ArchiveFacts, after: ArchiveFacts): string {
  const proto3 = [before, after].find(({ protocol }) => protocol === 3);
  if (proto3 !== undefined) return `${proto3.path} is PROTO[3], which names no states`;
  return before.result === null
    ? `${before.path} leads to a state without a name`
    : `${after.path} starts from a state without a name`;
}

function commonDivisor(left: number, right: number): number {
  return right === 0 ? left : commonDivisor(right, left % right);
}

/** Undos as one, with what they say of its base. */
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
