import { crc32 } from '../bytes/contents.js';
import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';
import type { CodecName } from '../codec/codec.js';
import { loadCodec } from '../codec/load-codec.js';
import { workAhead } from '../codec/work-ahead.js';
import { FormatError } from '../errors.js';
import type { StreamItem } from './block.js';
import { RAW_CRC_LENGTH } from './frame-format.js';

/** Blocks that are decompressed at once: as many as libuv has threads. */
const BLOCKS_AHEAD = 4;

/**
 * The items of a stream, with compressed blocks: `length` is that of the block, `data` its checksum and a codec's
 * output.
 */
export type PackedItem = StreamItem | CompressedBlock;

export interface CompressedBlock {
  readonly kind: 'packed';
  readonly offset: number;
  readonly length: number;
  readonly data: LentBuffer;
  readonly codec: CodecName;
  /** Where its frame starts in the stream. */
  readonly position: number;
  /** The stream's name in errors, if items come from several. */
  readonly what?: string;
}

/**
 * The same items with all blocks decompressed, some of them ahead. Throws FormatError, in its turn, if compressed
 * bytes do not match what their frame says, or if this host does not have their codec.
 */
export async function* unpackBlocks(
  items: AsyncIterable<PackedItem>,
  lend: LendBuffer,
  what: string,
): AsyncGenerator<StreamItem> {
  const iterator = items[Symbol.asyncIterator]();
  try {
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
      if (next.value.kind !== 'packed') {
        // Many streams have no compressed blocks, and avoid the cost of a queue.
        yield next.value;
        continue;
      }
      yield* workAhead(
        startingWith(next.value, iterator),
        BLOCKS_AHEAD,
        (item) =>
          item.kind === 'packed' ? unpackBlock(item, lend, item.what ?? what) : Promise.resolve(item),
        (item) => {
          if (item.kind === 'data') item.data.release();
        },
      );
      return;
    }
  } finally {
    await iterator.return?.();
  }
}

export async function* startingWith<Item>(first: Item, rest: AsyncIterator<Item>): AsyncGenerator<Item> {
  yield first;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
}

/** A compressed block's own bytes, in memory from `lend`; releases the compressed ones. Throws FormatError. */
export async function unpackBlock(packed: CompressedBlock, lend: LendBuffer, what: string) {
  const { offset, length, data } = packed;
  try {
    // Asked for before anything else is awaited, so before the next frame asks: the block whose turn it is always gets
    // its memory.
    const raw = await lend(length);
    try {
      const crc = await unpackInto(packed, raw.bytes, what);
      return { kind: 'data' as const, offset, length, data: raw, crc };
    } catch (error) {
      raw.release();
      throw error;
    }
  } finally {
    data.release();
  }
}

/** Decompresses a block into memory of its length. Returns its checksum, which was checked. Throws FormatError. */
export async function unpackInto(
  { codec, data, position, what }: CompressedBlock,
  raw: Buffer,
  stream: string,
): Promise<number> {
  return await decompress(codec, data.bytes, raw).catch((error: unknown) => {
    const problem = error instanceof Error ? error.message : String(error);
    throw new FormatError(what ?? stream, position, `${codec} data`, problem);
  });
}

async function decompress(name: CodecName, data: Buffer, raw: Buffer): Promise<number> {
  const codec = await loadCodec(name);
  if (codec === null) throw new Error(`this host cannot decompress ${name}: install libzstd1, or Node 22.15`);
  await codec.decompress(data.subarray(RAW_CRC_LENGTH), raw);
  const crc = crc32(raw);
  if (crc !== data.readUInt32BE(0)) throw new Error('its checksum is wrong after decompression');
  return crc;
}
