import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { piecesOf } from '../bytes/byte-channel.js';
import { SECTOR } from '../bytes/extent.js';
import { DeviceError, UsageError, FormatError } from '../errors.js';
import { interruptible } from '../host/interruption.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { CHECK_MEMORY } from '../memory/budgets.js';
import { BlockBatch } from '../stream/batches/batch.js';
import { openIncomingStream } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { readIndex, type RandomFile } from './archive-index.js';
import type { ExtentTable } from './extent-table.js';
import { overlay, type Layer } from './overlay.js';
import { endOfAll, readStart, scanArchive } from './scan-archive.js';

/** What an archive does: changes forward, or an undo back. */
export type ArchiveKind = StreamHeader['kind'];

/** What only the user knows about a file. */
export interface ArchiveWish {
  /**
   * The kind of a PROTO[3] file, which does not say it itself: in changes the last record of a byte counts, in an undo
   * the first. Null if the user did not say.
   */
  readonly proto3: 'changes' | 'undo' | null;
}

/** A stream in a file whose blocks can be read at random. It keeps the file's index in memory, and no open file. */
export interface Archive {
  readonly path: string;
  readonly protocol: 3 | 4;
  /** Null in PROTO[3], which has no header. */
  readonly header: StreamHeader | null;
  readonly kind: ArchiveKind;
  /** The identities of the states that it starts from and leads to; null if a state has no name, or is not known. */
  readonly base: string | null;
  readonly result: string | null;
  /** Bytes; in PROTO[3], the end of its last extent: the volume may be larger. */
  readonly volumeSize: number;
  /** The granularity of its extents; in PROTO[3], a sector. Bytes. */
  readonly blockSize: number;
  /** The size of the file. Bytes. */
  readonly size: number;
  /** What it changes, ascending and without overlaps: for each byte, the contents that count. */
  readonly extents: ExtentTable;
}

/** An archive without the positions of its blocks, which take memory. */
export type ArchiveFacts = Omit<Archive, 'extents'>;

/**
 * Opens a stream or snapback file for random access: by its index if it has one, else by a scan of the whole file.
 * Blocks are checked when they are read later; an index is checked now, also that it lists all blocks.
 *
 * Throws TruncatedStreamError (the file has no end), FormatError (it is damaged), UsageError (the kind of a PROTO[3]
 * file is not given), DeviceError.
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

/**
 * Opens a regular file for reading while `work` runs. Throws DeviceError; UsageError for anything but a regular file.
 */
export async function withFile<T>(path: string, work: (random: RandomFile) => Promise<T>): Promise<T> {
  // Without O_NONBLOCK, opening a pipe without a writer would wait.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw new DeviceError(path, 'open', null, error);
  });
  try {
    const stats = await file.stat();
    if (!stats.isFile()) {
      throw new UsageError(`${path}: not a regular file: an archive needs random access; write it to a file`);
    }
    return await work({ path, file, size: stats.size });
  } finally {
    await file.close();
  }
}

function unknownKind(path: string): string {
  return (
    `${path}: a PROTO[3] file does not say whether it leads forward or back: ` +
    'say which by --proto3 changes or --proto3 undo'
  );
}

/** For each byte the extent that counts: the last one that has it, or the first. */
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
 * Reads every byte of an archive, and checks each frame's checksum, the digest over all of them, the contents of the
 * compressed blocks, and that the index lists exactly the blocks of the file. Throws TruncatedStreamError,
 * FormatError, DeviceError.
 */
export async function checkArchive(path: string, signal: AbortSignal): Promise<void> {
  await withFile(path, async (random) => {
    const source = interruptible(piecesOf(random.file, path), signal);
    const { protocol, header, blocks } = await openIncomingStream(
      source,
      new BufferPool(CHECK_MEMORY).lend,
      path,
    );
    for await (const item of blocks) if (item instanceof BlockBatch) item.release();
    if (protocol === 3 || header === null) return;
    const index = await readIndex(random, header.volumeSize);
    if (index === null) return;
    const found = await scanArchive(random);
    for (let at = 0; at < Math.max(found.count, index.count); at++) {
      const [is, said] = [found.at(at), index.at(at)];
      if (is.offset === said.offset && is.length === said.length && is.position === said.position) continue;
      throw new FormatError(path, said.position, 'index', `its entry ${at} does not match a block`);
    }
  });
}
