/** Decides for each batch of blocks whether to try to compress them, and learns from the outcome. */
export interface CompressionJudge {
  /** Whether to compress the next batch. */
  readonly wantsPacked: boolean;
  heard(sent: SentBatch): void;
}

/** A batch that was sent. Bytes and milliseconds. */
export interface SentBatch {
  /** What `wantsPacked` was when the batch was made ready. */
  readonly wasTried: boolean;
  readonly rawBytes: number;
  readonly sentBytes: number;
  /** How long the write to the line took. */
  readonly waitedMs: number;
}

/** Compresses always, however fast the line is. */
export const ALWAYS: CompressionJudge = { wantsPacked: true, heard: () => undefined };

/** A rate is measured over at least this long, and this many batches. */
const WINDOW_MS = 500;
const WINDOW_BATCHES = 4;
/**
 * The line is the limit if more than the first share of a window was spent waiting for it; it is not if less than the
 * second was.
 */
const MOSTLY_WAITING = 0.5;
const HARDLY_WAITING = 0.4;
/** The line is not the limit if our own thread was busy for this share of the window: then it waits for itself. */
const BUSY = 0.7;
/** How many times faster the other way must be to be kept: a smaller difference may be chance. */
const CLEARLY_FASTER = 1.15;
/**
 * Compression stops at once if it leaves this share of the bytes or more: such a gain is not worth the processor time.
 */
const HARDLY_SMALLER = 0.95;
/** A trial ends early if its rate is below this share of the other after SHORTEST_TRIAL_MS. */
const CLEARLY_SLOWER = 0.7;
const SHORTEST_TRIAL_MS = 100;
/** Windows until the other way is tried again if it was not better. Grows by this factor after each trial. */
const FIRST_PATIENCE = 1;
const PATIENCE_GROWTH = 4;
const MOST_PATIENCE = 64;

const BEGINNING = { since: 0, activeBefore: 0, batches: -1, rawBytes: 0, sentBytes: 0, waitedMs: 0 };

/**
 * Finds out by trial whether compression makes a transfer faster. If the sender waits for the line, the blocks of one
 * window are compressed; if the volume's bytes then leave clearly faster, compression stays on. If the sender hardly
 * waits for the line, the processor is the limit, and the same trial is made the other way. So it never matters why
 * something is slow, only what is faster. On a fast line this costs a short trial now and then.
 */
export class TrialJudge implements CompressionJudge {
  wantsPacked = false;
  /** The rate of the window before a trial, in bytes per millisecond; null: no trial is running. */
  private rivalRate: number | null = null;
  private patience = FIRST_PATIENCE;
  /** The first window says nothing: it only fills the buffers before the line. */
  private windowsLeft = FIRST_PATIENCE + 1;
  private window = { ...BEGINNING };

  /**
   * @param clock milliseconds that only grow
   * @param activeMs for how many of them our own thread was busy
   */
  constructor(
    private readonly clock: () => number,
    private readonly activeMs: () => number,
  ) {}

  heard({ wasTried, rawBytes, sentBytes, waitedMs }: SentBatch): void {
    // Ignore blocks that were prepared before the last change.
    if (wasTried !== this.wantsPacked) return;
    const { window } = this;
    const now = this.clock();
    window.batches += 1;
    if (window.batches === 0) {
      // The start of the first block is not known, so the window begins at its end.
      window.since = now;
      window.activeBefore = this.activeMs();
      return;
    }
    window.rawBytes += rawBytes;
    window.sentBytes += sentBytes;
    window.waitedMs += waitedMs;
    const elapsed = now - window.since;
    if (window.batches >= WINDOW_BATCHES && (elapsed >= WINDOW_MS || this.isLost(elapsed)))
      this.judge(elapsed);
  }

  /** Whether a trial is lost before its window ends. */
  private isLost(elapsed: number): boolean {
    if (this.rivalRate === null) return false;
    if (this.isUseless()) return true;
    return elapsed >= SHORTEST_TRIAL_MS && this.window.rawBytes / elapsed < this.rivalRate * CLEARLY_SLOWER;
  }

  private isUseless(): boolean {
    return this.wantsPacked && this.window.sentBytes > this.window.rawBytes * HARDLY_SMALLER;
  }

  private judge(elapsed: number): void {
    const { rawBytes, waitedMs, activeBefore } = this.window;
    const rate = rawBytes / elapsed;
    const isUseless = this.isUseless();
    const active = this.activeMs();
    const activeShare = (active - activeBefore) / elapsed;
    this.window = { ...BEGINNING, since: this.clock(), batches: 0, activeBefore: active };
    if (this.rivalRate !== null) {
      const isBetter = rate > this.rivalRate * CLEARLY_FASTER && !isUseless;
      this.rivalRate = null;
      if (isBetter) this.settle(FIRST_PATIENCE);
      else this.turnBack();
    } else if (isUseless) {
      this.turnBack();
    } else {
      this.windowsLeft -= 1;
      if (this.windowsLeft <= 0 && this.isWorthATrial(waitedMs / elapsed, activeShare)) {
        this.rivalRate = rate;
        this.change();
      }
    }
  }

  private isWorthATrial(waitingShare: number, activeShare: number): boolean {
    if (this.wantsPacked) return waitingShare < HARDLY_WAITING;
    return waitingShare > MOSTLY_WAITING && activeShare < BUSY;
  }

  /** Goes back to the previous way, for longer than the last time. */
  private turnBack(): void {
    this.change();
    this.settle(Math.min(this.patience * PATIENCE_GROWTH, MOST_PATIENCE));
  }

  private settle(patience: number): void {
    this.patience = patience;
    this.windowsLeft = patience;
  }

  private change(): void {
    this.wantsPacked = !this.wantsPacked;
    // The new window begins with the first block that was prepared the new way.
    this.window = { ...BEGINNING };
  }
}
