import type { LentBuffer } from '../bytes/byte-channel.js';
import { crc32, isZero } from '../bytes/contents.js';
import { CODEC_IDS, type Codec } from '../codec/codec.js';
import { workAhead } from '../codec/work-ahead.js';
import { BufferPool } from '../memory/aligned-memory.js';
import type { BlockWriter, KnownOfBytes } from '../stream/block-writer.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import type { ReadBlock } from './block-reader.js';
import type { CompressionJudge } from './compression-judge.js';

/** How many blocks are compressed at once: as many as libuv has threads. */
const BLOCKS_AHEAD = 4;
/** A block is sent compressed if that saves at least this share of it. */
const WORTHWHILE = 1 / 16;

/** A block that is ready to be sent; `known` has its compressed bytes, if it is sent compressed. */
export interface ReadyBlock extends ReadBlock {
  readonly known: KnownOfBytes;
  /** Whether compressing it was tried. */
  readonly wasTried: boolean;
}

interface PreparedBlock extends ReadyBlock {
  /** The memory of the compressed bytes. */
  readonly room: LentBuffer | null;
}

/** Compresses the blocks of a transfer on other threads, in order, if its judge wants that and it saves enough. */
export class BlockPacker {
  /** How many blocks were sent compressed, and their bytes. */
  readonly totals = { blocks: 0, rawBytes: 0, packedBytes: 0 };
  /** Compressed bytes have their own memory, which reading ahead cannot use up. */
  private readonly rooms = new BufferPool(BLOCKS_AHEAD * MAX_BLOCK_LENGTH);

  /** @param clock milliseconds that only grow */
  constructor(
    readonly codec: Codec,
    private readonly level: number,
    private readonly judge: CompressionJudge,
    private readonly clock: () => number,
  ) {}

  /** The same blocks, ready to be sent. Prepares some of them ahead of the consumer. */
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

  /** Writes a block that is ready. */
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
    // Before the codec sees the bytes, so that the reader detects an error of the codec.
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
