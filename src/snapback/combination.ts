import { BaseMismatchError, UsageError } from '../errors.js';
import type { Archive, ArchiveKind } from './archive.js';
import type { ExtentTable } from './extent-table.js';
import { overlay } from './overlay.js';

/** Several archives as one: what has the effect of applying them one after another, each byte once. */
export interface Combination {
  /** In the order in which they would be applied. An extent's `source` is an index into these. */
  readonly archives: readonly Archive[];
  readonly kind: ArchiveKind;
  /** Of the volume: the largest that any of them knows. Bytes. */
  readonly volumeSize: number;
  /** A granularity in which all their extents lie. Bytes. */
  readonly blockSize: number;
  /** The identities of the first one's base and of the last one's result, or null. */
  readonly base: string | null;
  readonly result: string | null;
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

/**
 * Plans the combination of archives that are given in the order in which they would be applied: of undos, that of
 * the last apply comes first. Each one's result must be the next one's base; where one of the two is not known, the
 * order is believed, and `believed` says so. Reads no data; memory is bounded by the indexes.
 *
 * Throws BaseMismatchError, which names both files, where two do not meet; UsageError where there is no archive, or
 * they do not go the same way.
 */
export function planCombination(archives: readonly Archive[], wish: CombinationWish = {}): Combination {
  const [first] = archives;
  const last = archives.at(-1);
  if (first === undefined || last === undefined) throw new UsageError('name at least one archive');
  archives.forEach(refuseParts);
  const believed: string[] = [];
  archives.slice(1).forEach((archive, index) => {
    const before = archives[index] ?? first;
    checkWay(first, archive);
    believed.push(...checkMeeting(before, archive, wish.forceBase === true));
  });
  const layers = archives.map(({ extents: table }) => ({ table, from: 0, to: table.count }));
  const extents = overlay(layers, (layer) => layer);
  return {
    archives,
    kind: first.kind,
    volumeSize: Math.max(...archives.map(({ volumeSize }) => volumeSize)),
    blockSize: archives.map(({ blockSize }) => blockSize).reduce(commonDivisor),
    base: first.base,
    result: last.result,
    extents,
    bytes: extents.bytes,
    believed,
  };
}

/** Parts of chunks are right only behind the checksums of what they are parts of, which no combination has. */
function refuseParts({ path, header }: Archive): void {
  if (header?.unit === undefined) return;
  throw new UsageError(
    `${path}: it holds only the parts that changed of what its source tracks: write it with --whole-chunks to combine it`,
  );
}

function checkWay(first: Archive, archive: Archive): void {
  const isSame = archive.kind === first.kind && archive.kind !== 'full';
  if (isSame || (first.kind === 'full' && archive.kind === 'changes')) return;
  throw new UsageError(
    `${archive.path} (${archive.kind}) cannot follow ${first.path} (${first.kind}): archives that are combined go the same way`,
  );
}

/** What had to be believed of two archives that follow each other. */
function checkMeeting(before: Archive, after: Archive, isForced: boolean): string[] {
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

function whyUnknown(before: Archive, after: Archive): string {
  const proto3 = [before, after].find(({ protocol }) => protocol === 3);
  if (proto3 !== undefined) return `${proto3.path} is PROTO[3], which names no states`;
  return before.result === null
    ? `${before.path} leads to a state without a name`
    : `${after.path} starts from a state without a name`;
}

function commonDivisor(left: number, right: number): number {
  return right === 0 ? left : commonDivisor(right, left % right);
}
