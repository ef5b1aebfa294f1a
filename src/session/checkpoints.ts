import type { ChangeSet } from '../changes/change-set.js';
import { makeToken } from './resume-token.js';

/**
 * A checkpoint makes the receiver's steps wait for each other once, some tenths of a second in all; with bytes as the
 * measure, each 128 MiB, that cost a quarter of a fast local sync. What a broken line costs is as long to send again.
 */
const EVERY_MS = 5_000;

/** A line on which a receiver answers checkpoints. */
export interface CheckpointLine {
  /** Asks for all so far to be made durable; a later session can go on at the place that the token names. */
  checkpoint(token: Buffer): Promise<void>;
  /** Whether the last one was answered. */
  readonly isAnswered: boolean;
}

/** Decides when a stream's sender asks the receiver to make all durable. */
export class Checkpoints {
  private lastAt: number;

  constructor(
    private readonly line: CheckpointLine,
    private readonly key: string,
    private readonly changes: ChangeSet,
    private readonly clock: () => number,
  ) {
    this.lastAt = clock();
  }

  /** Takes note that all up to `offset` went out: `sent` bytes in blocks. */
  async afterBlock(offset: number, sent: number): Promise<void> {
    // A receiver whose disk is slow gets no second one before it is done with the first.
    if (this.clock() - this.lastAt < EVERY_MS || !this.line.isAnswered) return;
    await this.line.checkpoint(makeToken(this.key, this.changes, offset, sent));
    this.lastAt = this.clock();
  }
}
