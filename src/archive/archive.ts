import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { piecesOf } from '../bytes/byte-channel.js';
import { SECTOR } from '../bytes/extent.js';
import { DeviceError, UsageError, FormatError } from '../errors.js';
import { interruptible } from '../host/interruption.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { CHECK_MEMORY } from '../memory/budgets.js';
import { openIncomingStream } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { readIndex, type RandomFile } from './archive-index.js';
import type { ExtentTable } from './extent-table.js';
import { overlay, type Layer } from './overlay.js';
import { endOfAll, readStart, scanArchive } from './scan-archive.js';

/** What an archive leads to: forth to what was applied, or back to what was there. */
export type ArchiveKind = StreamHeader['kind'];

/** What only the user knows of a file. */
export interface ArchiveWish {
  /**
   * What a PROTO[3] file is, which does not say so itself: of changes the last record of a byte wins, of an undo the
   * first. Null where nobody said.
   */
  readonly proto3: 'changes' | 'undo' | null;
}

/** A stream in a file whose blocks can be read at random. It holds the file's index, and no open file. */
export interface Archive {
  readonly path: string;
  readonly protocol: 3 | 4;
  /** Null of PROTO[3], which has none. */
  readonly header: StreamHeader | null;
  readonly kind: ArchiveKind;
  /** The identities of the states that it leads from and to; null where they have none, or are not known. */
  readonly base: string | null;
  readonly result: string | null;
  /** Bytes; of PROTO[3], where its last extent ends: the volume may be larger. */
  readonly volumeSize: number;
  /** The granularity of its extents; of PROTO[3], a sector. Bytes. */
  readonly blockSize: number;
  /** Of the file. Bytes. */
  readonly size: number;
  /** What it brings, ascending and without overlaps: of each byte, the contents that count. */
  readonly extents: ExtentTable;
}

/** An archive without the places of its blocks, which take memory. */
export type ArchiveFacts = Omit<Archive, 'extents'>;

/**
 * Opens a stream or snapback file to be read at random: by its index where it has one, else by one scan of all of it.
 * What is read of its blocks later is checked then; an index is checked now, and whether it is that of all blocks.
 *
 * Throws TruncatedStreamError (a file without its end), FormatError (a damaged one), UsageError (a PROTO[3] file of
 * which nobody said what it is), DeviceError.
 */
export async function openArchive(
  path: string,
  { proto3 }: ArchiveWish = { proto3: null },
): Promise<Archive> {
  return await withFile(path, async (random) => {
    const { protocol, header } = await readStart(random);
    const { size } = random;
    if (header === null) {
      if (proto3 === null) throw new UsageError(unknownKind(path));
      const blocks = await scanArchive(random);
      const extents = withoutOverlaps(blocks, proto3 === 'undo');
      const facts = { base: null, result: null, volumeSize: endOfAll(blocks), blockSize: SECTOR };
      return { path, protocol, header, kind: proto3, ...facts, size, extents };
    }
    const blocks = (await readIndex(random, header.volumeSize)) ?? (await scanArchive(random));
    const { kind, base, result, volumeSize, blockSize } = header;
    const facts = { kind, base, result, volumeSize, blockSize };
    return { path, protocol, header, ...facts, size, extents: withoutOverlaps(blocks, false) };
  });
}

/** Opens a regular file for reading while some work is done. Throws DeviceError; UsageError of anything else. */
export async function withFile<T>(path: string, work: (random: RandomFile) => Promise<T>): Promise<T> {
  // A pipe that nobody writes to would be waited for.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw new DeviceError(path, 'open', null, error);
  });
  try {
    const stats = await file.stat();
    if (!stats.isFile()) {
      throw new UsageError(`${path}: no regular file: an archive is read here and there; write it to a file`);
    }
    return await work({ path, file, size: stats.size });
  } finally {
    await file.close();
  }
}

function unknownKind(path: string): string {
  return (
    `${path}: a PROTO[3] file does not say whether it leads forth or back: ` +
    'say which by --proto3 changes or --proto3 undo'
  );
}

/** Of each byte the extent that counts: the last one that has it, or the first. */
export function withoutOverlaps(
  blocks: ExtentTable,
  firstWins: boolean,
  sourceOf: (layer: number, source: number) => number = () => 0,
): ExtentTable {
  const layers = ascendingRuns(blocks);
  if (layers.length <= 1) return blocks;
  if (firstWins) layers.reverse();
  return overlay(layers, sourceOf);
}

function ascendingRuns(blocks: ExtentTable): Layer[] {
  const runs: Layer[] = [];
  let from = 0;
  for (let index = 1; index <= blocks.count; index++) {
    if (index < blocks.count && blocks.offsetAt(index) >= blocks.endAt(index - 1)) continue;
    runs.push({ table: blocks, from, to: index });
    from = index;
  }
  return runs;
}

/**
 * Reads every byte of an archive: each frame's checksum, the digest over all of them, what the compressed blocks give,
 * and whether the index names just the blocks that there are. Throws TruncatedStreamError, FormatError, DeviceError.
 */
export async function checkArchive(path: string, signal: AbortSignal): Promise<void> {
  await withFile(path, async (random) => {
    const source = interruptible(piecesOf(random.file, path), signal);
    const { protocol, header, blocks } = await openIncomingStream(
      source,
      new BufferPool(CHECK_MEMORY).lend,
      path,
    );
    for await (const item of blocks) if (item.kind === 'data') item.data.release();
    if (protocol === 3 || header === null) return;
    const index = await readIndex(random, header.volumeSize);
    if (index === null) return;
    const found = await scanArchive(random);
    for (let at = 0; at < Math.max(found.count, index.count); at++) {
      const [is, said] = [found.at(at), index.at(at)];
      if (is.offset === said.offset && is.length === said.length && is.position === said.position) continue;
      throw new FormatError(path, said.position, 'index', `its entry ${at} names no block`);
    }
  });
}
