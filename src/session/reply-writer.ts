import type { ByteSink } from '../bytes/byte-channel.js';
import type { Extent } from '../bytes/extent.js';
import { InterruptedError, LvmsyncError } from '../errors.js';
import { encodeFrame, OPTIONAL, PROTOCOL_LINE } from '../stream/frame-format.js';
import {
  ALIVE,
  encodeDurable,
  encodeHello,
  encodePlan,
  encodeResult,
  encodeWant,
  type FailureMessage,
  type PlanMessage,
  type SaidResult,
} from './messages.js';

/** Writes the receiver's side of the line: the protocol's line before its first frame, then numbered frames. */
export class ReplyWriter {
  private number = 0;
  private isEnded = false;

  constructor(private readonly output: ByteSink) {}

  async hello(hello: Parameters<typeof encodeHello>[0]): Promise<void> {
    await this.write((number) => encodeHello(hello, number));
  }

  async plan(plan: PlanMessage): Promise<void> {
    await this.write((number) => encodePlan(plan, number));
  }

  async durable(frame: number): Promise<void> {
    await this.write((number) => encodeDurable(frame, number));
  }

  async want(extent: Extent): Promise<void> {
    await this.write((number) => encodeWant(extent, number));
  }

  /** A sign of life. */
  async alive(): Promise<void> {
    if (!this.isEnded) await this.write((number) => encodeFrame(ALIVE, OPTIONAL, number, Buffer.alloc(0)));
  }

  /** Any other reply. */
  async frame(type: string, payload: Uint8Array): Promise<void> {
    await this.write((number) => encodeFrame(type, 0, number, payload));
  }

  /** Sends the result and ends the line; false: the sender is gone. */
  async result(result: SaidResult): Promise<boolean> {
    try {
      const written = this.write((number) => encodeResult(result, number));
      this.isEnded = true;
      await written;
      await this.output.end();
      return true;
    } catch {
      return false;
    }
  }

  /** In one write, because signs of life are written between other replies. */
  private async write(encode: (number: number) => Buffer): Promise<void> {
    const line = this.number === 0 ? [Buffer.from(PROTOCOL_LINE)] : [];
    await this.output.write(Buffer.concat([...line, encode(this.number++)]));
  }
}

/** A failure, as it is reported to the other side; `who` failed. */
export function failureOf(error: unknown, who = 'receiver'): FailureMessage {
  // These two codes end only the side that asks, never the side that answers.
  if (error instanceof LvmsyncError && error.code !== 'INTERRUPTED' && error.code !== 'VERIFY_DIFFERS') {
    return { ok: false, code: error.code, message: error.message };
  }
  if (error instanceof InterruptedError)
    return { ok: false, code: 'TRANSPORT', message: `the ${who} was ${error.message}` };
  return { ok: false, code: 'TRANSPORT', message: `internal error of the ${who}: ${String(error)}` };
}
