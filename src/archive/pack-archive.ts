import { crc32, isZero } from '../bytes/contents.js';
import type { Extent } from '../bytes/extent.js';
import { CODEC_IDS, CODEC_LEVELS, type Codec } from '../codec/codec.js';
import { workAhead } from '../codec/work-ahead.js';
import type { KnownOfBytes } from '../stream/block-writer.js';
import type { Block, Proof } from '../stream/block.js';
import type { FrameWriter } from '../stream/frame-writer.js';

/** Blocks that are compressed at once: as many as libuv has threads. */
const BLOCKS_AHEAD = 4;
/** A block is kept compressed if that saves at least a sixteenth of it. */
const WORTHWHILE = 1 / 16;

/** How the blocks of an archive are compressed; null: not at all. */
export interface Packing {
  readonly codec: Codec | null;
  /** Null for the codec's default. */
  readonly level: number | null;
}

/** A block for an archive, with what the target must hold in its place, if that is known. */
export type ArchiveBlock = Block & { readonly proof?: Proof };

/** A block that is ready to be written; `write` releases it. */
export interface PackedBlock extends Extent {
  write(writer: FrameWriter): Promise<void>;
}

/** Prepares blocks for an archive: finds zeroes, compresses the rest if that pays, some ahead, in order. */
export function packBlocks(
  blocks: AsyncIterable<ArchiveBlock>,
  packing: Packing,
): AsyncGenerator<PackedBlock> {
  return workAhead(
    blocks,
    BLOCKS_AHEAD,
    (block) => pack(block, packing),
    ({ release }) => {
      release();
    },
  );
}

async function pack(block: ArchiveBlock, packing: Packing): Promise<PackedBlock & { release: () => void }> {
  const { offset, length, proof } = block;
  const release = () => {
    if (block.kind === 'data') block.data.release();
  };
  const prove = async (writer: FrameWriter) => {
    if (proof !== undefined) await writer.prove(proof);
  };
  if (block.kind !== 'data' || isZero(block.data.bytes)) {
    const kind = block.kind === 'discard' ? 'discard' : 'zero';
    const write = async (writer: FrameWriter) => {
      release();
      await prove(writer);
      await writer[kind](offset, length);
    };
    return { offset, length, release, write };
  }
  const { bytes } = block.data;
  const known = await compress(bytes, packing).catch((error: unknown) => {
    release();
    throw error;
  });
  const write = async (writer: FrameWriter) => {
    try {
      await prove(writer);
      await writer.data(offset, bytes, known);
    } finally {
      release();
    }
  };
  return { offset, length, release, write };
}

async function compress(bytes: Buffer, { codec, level }: Packing): Promise<KnownOfBytes> {
  // Before a codec sees them: the reader must notice a codec's error.
  const crc = crc32(bytes);
  if (codec === null) return { crc };
  const room = Buffer.allocUnsafeSlow(Math.floor(bytes.length * (1 - WORTHWHILE)));
  const length = await codec.compress(bytes, room, level ?? CODEC_LEVELS[codec.name].usual);
  if (length === null) return { crc };
  return { crc, packed: { codec: CODEC_IDS[codec.name], bytes: room.subarray(0, length) } };
}
