import { formatBoth } from '../bytes/amounts.js';
import { SECTOR } from '../bytes/extent.js';
import type { DmTarget } from '../lvm/device-mapper.js';
import { showCommand } from '../transport/shell-words.js';

const MEBIBYTE = 1024 * 1024;
/** The size of an entry of an exception table, see docs/cow-format.md. Bytes. */
const EXCEPTION = 16;
/** The fewest mappings in a block of thin-pool metadata: half of the 252 that a leaf of its tree can hold. */
const MAPPINGS_PER_BLOCK = 126;

/** How much a stream will write. Bytes. */
export interface ExpectedWrites {
  readonly bytes: number;
  /** How much of that is not discards. A pool whose unmapped chunks read as zeroes needs space only for this. */
  readonly mappedBytes?: number;
  readonly blockSize: number;
  readonly volumeSize: number;
}

/** A target's size in bytes, and whether it is a file: that decides how it is enlarged. */
export interface SizedTarget {
  readonly path: string;
  readonly size: number;
  readonly isFile: boolean;
}

/**
 * Why a target cannot hold a volume, and how to enlarge it, in words after its name.
 *
 * @param whose what needs so many bytes, in words
 */
export function describeTooSmall({ path, size, isFile }: SizedTarget, whose: string, needed: number): string {
  const [has, needs] = formatBoth(size, needed);
  const how = isFile
    ? showCommand(['truncate', '-s', `${needed}`, path])
    : `a logical volume: ${showCommand(['lvextend', '-L', `${needed}b`, path])}`;
  return `too small: it has ${has}, and ${whose} has ${needs}: enlarge it first (${how})`;
}

/** How many chunks the writes touch if no two blocks share a chunk; at most as many as the volume has. */
export function countChunks({ bytes, blockSize, volumeSize }: ExpectedWrites, chunkSize: number): number {
  const blocks = Math.ceil(bytes / blockSize);
  return Math.min(blocks * chunksPerBlock(blockSize, chunkSize), Math.ceil(volumeSize / chunkSize));
}

/** Blocks start at multiples of their size, and chunks at multiples of theirs. */
function chunksPerBlock(blockSize: number, chunkSize: number): number {
  if (chunkSize % blockSize === 0) return 1;
  return blockSize % chunkSize === 0 ? blockSize / chunkSize : Math.ceil(blockSize / chunkSize) + 1;
}

/**
 * Why a snapshot's store cannot hold the writes, in words after the store's role; null: it can.
 *
 * @param target the snapshot's line in its device-mapper table, `status` its line in the status
 */
export function judgeStore(
  dmName: string,
  target: DmTarget,
  status: DmTarget | undefined,
  expected: ExpectedWrites,
): string | null {
  const words = status?.words.join(' ') ?? '';
  const [, allocated, total, metadata] = /^(\d+)\/(\d+) (\d+)$/.exec(words) ?? [];
  const name = lvmNameOf(dmName);
  if (allocated === undefined) {
    return `${name ?? dmName} is not usable (the kernel reports "${words}"): remove it first`;
  }
  const chunkSectors = Number(target.words[3]);
  const chunkSize = chunkSectors * SECTOR;
  const known = (Number(allocated) - Number(metadata)) / chunkSectors;
  const unknown = Math.max(0, Math.ceil(target.sectors / chunkSectors) - known);
  const added = Math.min(countChunks(expected, chunkSize), unknown);
  const tables = target.words[2]?.startsWith('N') === true ? 0 : countTables(known, added, chunkSize);
  const free = Math.floor(Number(total) / chunkSectors) - Math.ceil(Number(allocated) / chunkSectors);
  return describeShortage(dmName, free * chunkSize, (added + tables) * chunkSize, '-L');
}

/** How many more tables a store will begin, in chunks: an empty table follows each full one. */
function countTables(known: number, added: number, chunkSize: number): number {
  const perTable = chunkSize / EXCEPTION;
  return Math.floor((known + added) / perTable) - Math.floor(known / perTable);
}

/** Why a thin pool cannot hold the writes, in words after "its thin pool"; null: it can. */
export function judgePool(
  dmName: string,
  target: DmTarget | undefined,
  status: DmTarget | undefined,
  expected: ExpectedWrites,
): string | null {
  const [, metadata = '', data = '', , mode] = status?.words ?? [];
  const words = status?.words.join(' ') ?? '';
  if (mode !== 'rw' || words.includes('needs_check')) {
    return `${lvmNameOf(dmName) ?? dmName} is not usable (the kernel reports "${words}"): repair or extend it first`;
  }
  const blockSize = Number(target?.words[2]) * SECTOR;
  const readsAsZeroes = target?.words.includes('skip_block_zeroing') === false;
  const bytes = readsAsZeroes ? (expected.mappedBytes ?? expected.bytes) : expected.bytes;
  const added = countChunks({ ...expected, bytes }, blockSize);
  const shortOfData = describeShortage(dmName, freeOf(data) * blockSize, added * blockSize, '-L');
  if (shortOfData !== null) return `${shortOfData}, even if it is extended automatically`;
  const metadataBlock = 4096;
  const growth = Math.ceil(added / MAPPINGS_PER_BLOCK) * metadataBlock;
  return describeShortage(dmName, freeOf(metadata) * metadataBlock, growth, '--poolmetadatasize');
}

/** What is free, from `used/total` in a status line. */
function freeOf(usage: string): number {
  const [used, total] = usage.split('/').map(Number);
  return (total ?? 0) - (used ?? 0);
}

function describeShortage(dmName: string, free: number, needed: number, option: string): string | null {
  if (needed <= free) return null;
  const name = lvmNameOf(dmName);
  const mebibytes = Math.ceil((needed - free) / MEBIBYTE);
  const how = name === null ? '' : ` (lvextend ${option} +${mebibytes}m ${name})`;
  const what = option === '-L' ? 'bytes' : 'bytes of metadata space';
  return `${name ?? dmName} has ${free} ${what} free and may need ${needed}: extend it first${how}`;
}

/** `vg/lv` from the device-mapper name of an LVM volume, in which dashes are doubled. Drops layers such as `-tpool`. */
export function lvmNameOf(dmName: string): string | null {
  const [, group, volume] = /^((?:[^-]|--)+)-((?:[^-]|--)+)(?:-[a-z]+)?$/.exec(dmName) ?? [];
  if (group === undefined || volume === undefined) return null;
  return `${group.replaceAll('--', '-')}/${volume.replaceAll('--', '-')}`;
}
