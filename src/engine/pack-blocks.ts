import { crc32 } from 'node:zlib';
import type { LentBuffer } from '../bytes/byte-channel.js';
import { isZero } from '../bytes/contents.js';
import { CODEC_IDS, type Codec } from '../codec/codec.js';
import { workAhead } from '../codec/work-ahead.js';
import { BufferPool } from '../memory/aligned-memory.js';
import type { BlockWriter, KnownOfBytes } from '../stream/block-writer.js';
import { MAX_BLOCK_LENGTH } from '../stream/frame-format.js';
import type { ReadBlock } from './block-reader.js';
import type { CompressionJudge } from './compression-judge.js';

/** Blocks that are compressed at once: as many as libuv has threads. */
const BLOCKS_AHEAD = 4;
/** A block goes out compressed where that saves at least a sixteenth of it. */
const WORTHWHILE = 1 / 16;

/** A block that is ready to go out, known as `known`: compressed where that shall be so. */
export interface ReadyBlock extends ReadBlock {
  readonly known: KnownOfBytes;
  /** Whether it was tried to compress it. */
  readonly wasTried: boolean;
}

interface PreparedBlock extends ReadyBlock {
  /** Where the compressed bytes lie. */
  readonly room: LentBuffer | null;
}

/** Compresses the blocks of a transfer where its judge wants it and it pays: on other threads, in order. */
export class BlockPacker {
  /** Blocks that went out compressed, and bytes. */
  readonly totals = { blocks: 0, rawBytes: 0, packedBytes: 0 };
  /** Compressed bytes have memory of their own: reading ahead can take none of it. */
  private readonly rooms = new BufferPool(BLOCKS_AHEAD * MAX_BLOCK_LENGTH);

  /** @param clock milliseconds that only grow */
  constructor(
    readonly codec: Codec,
    private readonly level: number,
    private readonly judge: CompressionJudge,
    private readonly clock: () => number,
  ) {}

  /** The same blocks, made ready to go out some ahead of whoever takes them. */
  async *makeReady<Given extends ReadBlock>(
    blocks: AsyncIterable<Given>,
  ): AsyncGenerator<Given & ReadyBlock> {
    const ready = workAhead(
      blocks,
      BLOCKS_AHEAD,
      (block) => this.prepare(block),
      ({ data, room }) => {
        data.release();
        room?.release();
      },
    );
    for await (const block of ready) {
      try {
        yield block;
      } finally {
        block.room?.release();
      }
    }
  }

  /** Writes a block that was made ready. */
  async send({ offset, data, known, wasTried }: ReadyBlock, writer: BlockWriter): Promise<void> {
    const rawBytes = data.bytes.length;
    const started = this.clock();
    await writer.data(offset, data.bytes, known);
    const sentBytes = known.packed?.bytes.length ?? rawBytes;
    this.judge.heard({ wasTried, rawBytes, sentBytes, waitedMs: this.clock() - started });
    if (known.packed === undefined) return;
    this.totals.blocks += 1;
    this.totals.rawBytes += rawBytes;
    this.totals.packedBytes += sentBytes;
  }

  private async prepare<Given extends ReadBlock>(block: Given): Promise<Given & PreparedBlock> {
    const { bytes } = block.data;
    const wasTried = this.judge.wantsPacked;
    if (!wasTried || isZero(bytes)) return { ...block, known: {}, wasTried, room: null };
    try {
      return { ...block, wasTried, ...(await this.pack(bytes)) };
    } catch (error) {
      block.data.release();
      throw error;
    }
  }

  private async pack(bytes: Uint8Array): Promise<Pick<PreparedBlock, 'known' | 'room'>> {
    // Before a codec sees them: what goes wrong there shall show at the reader.
    const crc = crc32(bytes);
    const room = await this.rooms.lend(Math.floor(bytes.length * (1 - WORTHWHILE)));
    try {
      const length = await this.codec.compress(bytes, room.bytes, this.level);
      if (length !== null) {
        const packed = { codec: CODEC_IDS[this.codec.name], bytes: room.bytes.subarray(0, length) };
        return { known: { crc, packed }, room };
      }
    } catch (error) {
      room.release();
      throw error;
    }
    room.release();
    return { known: { crc }, room: null };
  }
}
