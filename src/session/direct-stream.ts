import type { Extent } from '../bytes/extent.js';
import { TruncatedStreamError } from '../errors.js';
import { BlockBatch, ENTRY } from '../stream/batches/batch.js';
import type { SessionWriter } from '../stream/block-writer.js';
import type { Mark, Proof } from '../stream/block.js';
import { ExtentOrder } from '../stream/extent-order.js';
import type { StreamTotals } from '../stream/frame-format.js';
import type { IncomingStream } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';

const WHAT = 'stream from the sender';

/** What changes hands; null: the end. */
interface Handover {
  readonly item: BlockBatch | Mark | null;
  readonly taken: () => void;
  readonly refused: (error: Error) => void;
}

/**
 * A stream from a sender to a receiver in the same process: batches and marks change hands as they are. What only bytes
 * on a line need is left out: frames, their checksums, and a copy. A batch that the receiver has taken is in memory of
 * the sender's pool until the receiver has written it.
 */
export class DirectStream implements SessionWriter {
  readonly carriesProofs = true;
  isEnding = false;
  frameCount = 0;
  private readonly totals = { dataBytes: 0, zeroBytes: 0, discardBytes: 0 };
  private order = new ExtentOrder(0);
  private header: StreamHeader | null = null;
  private offered: Handover | null = null;
  private failure: Error | null = null;
  private wakeReader: () => void = () => undefined;

  /** The data that was handed over. */
  get bytesWritten(): number {
    return this.totals.dataBytes;
  }

  /** For the receiver: the stream, once its header is known. Throws TruncatedStreamError if the sender gives up first. */
  async open(): Promise<IncomingStream> {
    while (this.header === null && this.failure === null) await this.waitForSender();
    if (this.header === null) throw this.failure ?? new Error('a stream without a header');
    return { protocol: 4, header: this.header, asks: false, blocks: this.read() };
  }

  start(header: StreamHeader): Promise<void> {
    this.order = new ExtentOrder(header.volumeSize);
    this.header = header;
    this.frameCount += 1;
    this.wakeReader();
    return Promise.resolve();
  }

  async prove({ offset, length, crc }: Proof): Promise<void> {
    this.order.closeSection();
    const batch = new BlockBatch();
    batch.add({ kind: 'proof', offset, length, crc });
    await this.handOver(batch);
  }

  /** Resolves when the receiver has taken the batch, and holds it. */
  async batch(batch: BlockBatch): Promise<void> {
    for (let entry = batch.first; entry < batch.count; entry++) this.check(batch, entry);
    batch.hold();
    try {
      await this.handOver(batch);
    } catch (error) {
      batch.release();
      throw error;
    }
  }

  async nextPass(): Promise<void> {
    this.order.startPass();
    await this.handOver({ kind: 'next-pass' });
  }

  async audit({ offset, length }: Extent): Promise<void> {
    await this.handOver({ kind: 'audit', offset, length });
  }

  async resume(token: Buffer): Promise<void> {
    await this.handOver({ kind: 'resume', token });
  }

  async checkpoint(token: Buffer): Promise<void> {
    this.order.closeSection();
    await this.handOver({ kind: 'checkpoint', frame: this.frameCount, token });
  }

  /** Nobody waits for a sign of life within a process. */
  heartbeat(): Promise<void> {
    return Promise.resolve();
  }

  async finish(isNameless = false): Promise<StreamTotals> {
    this.isEnding = true;
    if (isNameless) await this.handOver({ kind: 'nameless' });
    await this.handOver(null);
    return { frames: this.frameCount, ...this.totals };
  }

  /** The sender gives up: unless the stream has ended, the receiver is told that it was cut short. */
  cut(): void {
    this.break(new TruncatedStreamError(WHAT, this.bytesWritten, 'its end expected'));
  }

  /** Nothing more is handed over. A side that waits, or comes later, gets this error; the first one stays. */
  break(error: Error): void {
    this.failure ??= error;
    this.offered?.refused(this.failure);
    this.offered = null;
    this.wakeReader();
  }

  private check(batch: BlockBatch, entry: number): void {
    const { offset, length } = batch.extentAt(entry);
    const kind = batch.kindAt(entry);
    if (kind === ENTRY.proof) {
      this.order.closeSection();
      return;
    }
    const problem =
      kind === ENTRY.section ? this.order.openSection(offset, length) : this.order.take(offset, length);
    if (problem !== null) throw new Error(problem);
    if (kind === ENTRY.data) this.totals.dataBytes += length;
    else if (kind === ENTRY.zero) this.totals.zeroBytes += length;
    else if (kind === ENTRY.discard) this.totals.discardBytes += length;
  }

  private handOver(item: BlockBatch | Mark | null): Promise<void> {
    this.frameCount += 1;
    return new Promise((taken, refused) => {
      if (this.failure !== null) refused(this.failure);
      else if (this.offered !== null) refused(new Error('two hand over at once'));
      else this.offered = { item, taken, refused };
      this.wakeReader();
    });
  }

  private async *read(): AsyncGenerator<BlockBatch | Mark> {
    try {
      for (;;) {
        while (this.offered === null && this.failure === null) await this.waitForSender();
        const { offered } = this;
        if (offered === null) throw this.failure ?? new Error('nothing was handed over');
        this.offered = null;
        offered.taken();
        if (offered.item === null) return;
        yield offered.item;
      }
    } finally {
      this.break(new Error('the receiver reads no more of it'));
    }
  }

  private async waitForSender(): Promise<void> {
    await new Promise<void>((resolve) => (this.wakeReader = resolve));
    this.wakeReader = () => undefined;
  }
}
