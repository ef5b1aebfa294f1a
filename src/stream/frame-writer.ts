import type { ByteSink } from '../bytes/byte-channel.js';
import type { Extent } from '../bytes/extent.js';
import type { BlockBatch } from './batches/batch.js';
import type { BlockWriter, KnownOfBytes, SessionWriter, WrittenStream } from './block-writer.js';
import type { AnnouncedWrites, Proof, Section } from './block.js';
import { StreamEncoder } from './encoding/stream-encoder.js';
import {
  AUDIT,
  encodeFlushed,
  encodeRange,
  FLUSHED,
  HEADER,
  OPTIONAL,
  PROTOCOL_LINE,
  QUESTION,
  type StreamTotals,
} from './frame-format.js';
import { encodeResumePoint, HEARTBEAT, RESUME, RESUME_POINT, type ResumePoint } from './mark-format.js';
import { encodeHeader, type StreamHeader } from './stream-header.js';

export interface FrameWriterOptions {
  /** Whether the stream gets an index, which allows random access to it as a file. */
  readonly indexed?: boolean;
}

/**
 * Writes a PROTO[4] stream to a sink. One call at a time, except `heartbeat`. When a call resolves, its frames are
 * passed on. A block out of order is a bug of ours: it throws a plain Error.
 */
export class FrameWriter implements BlockWriter, SessionWriter {
  readonly carriesProofs = true;
  /** Whether the end frame is being sent. */
  isEnding = false;
  /** Encodes frames that `flush` passes on: for a caller that has many at once. */
  readonly frames: StreamEncoder;
  private writesUnderWay = 0;
  /** The first failure is final: what was lost with it is unknown. */
  private failure: Error | null = null;

  constructor(
    private readonly sink: ByteSink,
    { indexed = false }: FrameWriterOptions = {},
  ) {
    this.frames = new StreamEncoder(indexed);
  }

  /** Continues a stream that has no end frame yet. */
  static async continue(sink: ByteSink, volumeSize: number, written: WrittenStream): Promise<FrameWriter> {
    const writer = new FrameWriter(sink);
    writer.frames.continue(volumeSize, written);
    await writer.flush();
    return writer;
  }

  get bytesWritten(): number {
    return this.frames.gathered.length;
  }

  /** The number of frames so far, which is the number of the next one. */
  get frameCount(): number {
    return this.frames.gathered.count;
  }

  async start(header: StreamHeader): Promise<void> {
    await this.begin(HEADER, header);
  }

  /** Begins a stream by which is asked what applying one with this header would do: proofs may follow, and the end. */
  async ask(header: StreamHeader): Promise<void> {
    await this.begin(QUESTION, header);
  }

  private async begin(type: typeof HEADER | typeof QUESTION, header: StreamHeader): Promise<void> {
    this.frames.begin(header.volumeSize);
    this.frames.gathered.putLine(Buffer.from(PROTOCOL_LINE));
    // By itself: a pulled sender has sent its line before.
    await this.flush();
    await this.put(type, encodeHeader(header));
  }

  async data(offset: number, bytes: Uint8Array, known: KnownOfBytes = {}): Promise<void> {
    this.frames.data(offset, bytes, known);
    await this.flush();
  }

  /** Writes a block as another stream's data frame has it: `stored` is its own checksum, then a codec's output. */
  async stored(offset: number, rawLength: number, codec: number, stored: Uint8Array): Promise<void> {
    this.frames.stored({ offset, rawLength, codec }, stored);
    await this.flush();
  }

  async zero(offset: number, length: number): Promise<void> {
    this.frames.zero(offset, length);
    await this.flush();
  }

  async discard(offset: number, length: number): Promise<void> {
    this.frames.discard(offset, length);
    await this.flush();
  }

  async prove(proof: Proof): Promise<void> {
    this.frames.prove(proof);
    await this.flush();
  }

  async openSection(section: Section): Promise<void> {
    this.frames.openSection(section);
    await this.flush();
  }

  /** Writes what is left in a batch, as it is: the checksums of its data must be known. */
  async batch(batch: BlockBatch, known?: ReadonlyMap<number, KnownOfBytes>): Promise<void> {
    for (let entry = batch.first; entry < batch.count; entry++) {
      this.frames.entry(batch, entry, known?.get(entry));
      if (this.frames.gathered.isFull) await this.flush();
    }
    await this.flush();
  }

  /** For a journal: announces writes that are about to be made. At least one. */
  async announce(writes: AnnouncedWrites): Promise<void> {
    this.frames.announce(writes);
    await this.flush();
  }

  /** For a journal: says that the first `writes` announced writes are on the target's stable storage. */
  async markFlushed(writes: number): Promise<void> {
    await this.put(FLUSHED, encodeFlushed(writes), OPTIONAL);
  }

  /**
   * For a journal: says up to where the applied stream is on the target's stable storage, as are all writes announced
   * so far.
   */
  async markResumePoint(point: ResumePoint): Promise<void> {
    await this.put(RESUME_POINT, encodeResumePoint(point), OPTIONAL);
  }

  /** For a session: asks for everything before it to be made durable; the token identifies this place. */
  async checkpoint(token: Uint8Array): Promise<void> {
    this.frames.checkpoint(token);
    await this.flush();
  }

  /** For a session: says that only what comes after the place that the receiver offered will follow. */
  async resume(token: Uint8Array): Promise<void> {
    await this.put(RESUME, token);
  }

  /**
   * For a session: a keepalive between header and end; left out while a frame is being written, which serves as one.
   */
  async heartbeat(): Promise<void> {
    const { gathered } = this.frames;
    const isBusy = this.writesUnderWay > 0 || !gathered.isEmpty;
    if (gathered.count === 0 || isBusy || this.isEnding) return;
    gathered.put(HEARTBEAT, Buffer.alloc(0), OPTIONAL);
    // In memory of its own: the next call may come before this is written.
    const piece = Buffer.concat(gathered.take());
    gathered.drop();
    await this.write([piece]);
  }

  async nextPass(): Promise<void> {
    this.frames.nextPass();
    await this.flush();
  }

  /** For a session, at the start of a pass: only sections follow, for everything in an extent that did not change. */
  async audit({ offset, length }: Extent): Promise<void> {
    await this.put(AUDIT, encodeRange(offset, length));
  }

  async finish(isNameless = false): Promise<StreamTotals> {
    const totals = this.frames.end(isNameless);
    this.isEnding = true;
    await this.flush();
    await this.sink.end();
    return totals;
  }

  /** Passes on all frames that are encoded. Afterwards, the memory of their blocks is no longer needed. */
  async flush(): Promise<void> {
    const { gathered } = this.frames;
    if (gathered.isEmpty) return;
    try {
      await this.write(gathered.take());
    } finally {
      gathered.drop();
    }
  }

  private async put(type: string, payload: Uint8Array, flags = 0): Promise<void> {
    this.frames.gathered.put(type, payload, flags);
    await this.flush();
  }

  private async write(pieces: readonly Uint8Array[]): Promise<void> {
    if (this.failure !== null) throw this.failure;
    this.writesUnderWay += 1;
    try {
      for (const piece of pieces) await this.sink.write(piece);
    } catch (error) {
      this.failure ??= error as Error;
      throw error;
    } finally {
      this.writesUnderWay -= 1;
    }
  }
}
