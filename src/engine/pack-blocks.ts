import type { LentBuffer } from '../bytes/byte-channel.js';
import { CODEC_IDS, type Codec } from '../codec/codec.js';
import { workAhead } from '../codec/work-ahead.js';
import { BufferPool } from '../memory/aligned-memory.js';
import type { StreamWriter, KnownOfBytes } from '../stream/block-writer.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';
import { type BlockBatch, ENTRY } from '../stream/batches/batch.js';
import type { CompressionJudge } from './compression-judge.js';
import { partsOf, type OutgoingBatch } from './outgoing-batches.js';

/** How many batches are compressed at once: as many as libuv has threads. */
const BATCHES_AHEAD = 4;
/** A block is sent compressed if that saves at least this share of it. */
const WORTHWHILE = 1 / 16;

/** A batch that is ready to be sent, with its compressed blocks. */
export interface ReadyBatch extends OutgoingBatch {
  /** What is known of data blocks, by their entries: their compressed bytes, if they are sent compressed. */
  readonly known: ReadonlyMap<number, KnownOfBytes>;
  /** Whether compressing its blocks was tried. */
  readonly wasTried: boolean;
}

interface PreparedBatch extends ReadyBatch {
  /** The memory of the compressed bytes. */
  readonly room: LentBuffer | null;
}

/** A line that takes fewer bytes a millisecond than this is slow: a batch keeps it busy for a while. */
const SLOW_BYTES_PER_MS = 20_000;
/** After so much without a wait, the line is taken to be fast. Bytes. */
const SURELY_FAST = 8 * MAX_BLOCK_LENGTH;

const NOTHING_KNOWN: ReadonlyMap<number, KnownOfBytes> = new Map();

/** Compresses the blocks of a transfer on other threads, in order, if its judge wants that and it saves enough. */
export class BlockPacker {
  /** How many blocks were sent compressed, and their bytes. */
  readonly totals = { blocks: 0, rawBytes: 0, packedBytes: 0 };
  /** Compressed bytes have their own memory, which reading ahead cannot use up: one loan a batch. */
  private readonly rooms = new BufferPool(BATCHES_AHEAD * MAX_BLOCK_LENGTH);
  /** How much was written since the line last was slow. */
  private fastBytes = 0;

  /** @param clock milliseconds that only grow */
  constructor(
    readonly codec: Codec,
    private readonly level: number,
    private readonly judge: CompressionJudge,
    private readonly clock: () => number,
  ) {}

  /** The same batches, ready to be sent. Prepares some of them ahead of the consumer. */
  async *makeReady(batches: AsyncIterable<OutgoingBatch>): AsyncGenerator<ReadyBatch> {
    const ready = workAhead(
      this.inParts(batches),
      BATCHES_AHEAD,
      (batch) => this.prepare(batch),
      ({ batch, room }) => {
        batch.release();
        room?.release();
      },
    );
    for await (const batch of ready) {
      try {
        yield batch;
      } finally {
        batch.room?.release();
      }
    }
  }

  /**
   * Batches of one piece each, unless the line is fast: otherwise the judge would learn too late on a slow one, because
   * those that are ready go out as they are.
   */
  private async *inParts(batches: AsyncIterable<OutgoingBatch>): AsyncGenerator<OutgoingBatch> {
    for await (const batch of batches) {
      if (this.fastBytes >= SURELY_FAST) yield batch;
      else yield* partsOf(batch);
    }
  }

  /** Writes a batch that is ready. */
  async send({ batch, known, wasTried }: ReadyBatch, writer: StreamWriter): Promise<void> {
    const started = this.clock();
    await writer.batch(batch, known);
    const waitedMs = this.clock() - started;
    let [rawBytes, sentBytes] = [0, 0];
    for (let entry = 0; entry < batch.count; entry++) {
      if (batch.kindAt(entry) !== ENTRY.data) continue;
      const length = batch.lengthAt(entry);
      const packed = known.get(entry)?.packed?.bytes.length;
      rawBytes += length;
      sentBytes += packed ?? length;
      if (packed === undefined) continue;
      this.totals.blocks += 1;
      this.totals.rawBytes += length;
      this.totals.packedBytes += packed;
    }
    if (rawBytes === 0) return;
    this.fastBytes = waitedMs * SLOW_BYTES_PER_MS > rawBytes ? 0 : this.fastBytes + rawBytes;
    this.judge.heard({ wasTried, rawBytes, sentBytes, waitedMs });
  }

  private async prepare(outgoing: OutgoingBatch): Promise<PreparedBatch> {
    const { batch } = outgoing;
    const wasTried = this.judge.wantsPacked;
    const { bytes } = batch.sum();
    if (!wasTried || bytes === 0) return { ...outgoing, known: NOTHING_KNOWN, wasTried, room: null };
    let room: LentBuffer | null = null;
    try {
      room = await this.rooms.lend(MAX_BLOCK_LENGTH);
      return { ...outgoing, known: await this.pack(batch, room.bytes), wasTried, room };
    } catch (error) {
      room?.release();
      batch.release();
      throw error;
    }
  }

  private async pack(batch: BlockBatch, room: Buffer): Promise<Map<number, KnownOfBytes>> {
    const known = new Map<number, KnownOfBytes>();
    let used = 0;
    for (let entry = 0; entry < batch.count; entry++) {
      if (batch.kindAt(entry) !== ENTRY.data) continue;
      const bytes = batch.bytesAt(entry);
      const most = Math.floor(bytes.length * (1 - WORTHWHILE));
      const length = await this.codec.compress(bytes, room.subarray(used, used + most), this.level);
      if (length === null) continue;
      // The checksum was taken before the codec saw the bytes, so that the reader detects an error of the codec.
      const packed = { codec: CODEC_IDS[this.codec.name], bytes: room.subarray(used, used + length) };
      known.set(entry, { crc: batch.crcAt(entry), packed });
      used += length;
    }
    return known;
  }
}
