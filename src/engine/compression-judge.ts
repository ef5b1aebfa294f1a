/** Says of each block whether to try to compress it, and hears what became of it. */
export interface CompressionJudge {
  /** Whether the block that comes next shall be compressed. */
  readonly wantsPacked: boolean;
  heard(sent: SentBlock): void;
}

/** A block that went out. Bytes and milliseconds. */
export interface SentBlock {
  /** What `wantsPacked` was when the block was made ready. */
  readonly wasTried: boolean;
  readonly rawBytes: number;
  readonly sentBytes: number;
  /** How long the line took to take it. */
  readonly waitedMs: number;
}

/** Compresses whatever the line does. */
export const ALWAYS: CompressionJudge = { wantsPacked: true, heard: () => undefined };

/** A rate is measured over at least this long, and this many blocks. */
const WINDOW_MS = 500;
const WINDOW_BLOCKS = 4;
/** The line is taken for the limit where a window was spent waiting for it to this share, and not below the other. */
const MOSTLY_WAITING = 0.5;
const HARDLY_WAITING = 0.4;
/** Nor where our own thread was at work for this share of it: it waits for itself then. */
const BUSY = 0.7;
/** So many times faster must the other way be to be kept: what is nearer may be chance. */
const CLEARLY_FASTER = 1.15;
/** Compressing is given up at once where it leaves this share: such a gain is not worth a processor. */
const HARDLY_SMALLER = 0.95;
/** A trial ends early where it is this much slower after so long. */
const CLEARLY_SLOWER = 0.7;
const SHORTEST_TRIAL_MS = 100;
/** Windows until the other way is tried again, after it was no better: so many times more after each trial. */
const FIRST_PATIENCE = 1;
const PATIENCE_GROWTH = 4;
const MOST_PATIENCE = 64;

const BEGINNING = { since: 0, activeBefore: 0, blocks: -1, rawBytes: 0, sentBytes: 0, waitedMs: 0 };

/**
 * Finds out whether compressing makes a transfer faster, by trying: where the line is waited for, a window's
 * blocks are compressed, and they stay so where the volume's bytes then left clearly faster. Where the line is
 * hardly waited for any more, the processor is the limit, and the same trial goes the other way. So the
 * question is never why something is slow, only what is faster; a fast line costs a short trial now and then.
 */
export class TrialJudge implements CompressionJudge {
  wantsPacked = false;
  /** The rate of the window before a trial, bytes a millisecond; null outside a trial. */
  private rivalRate: number | null = null;
  private patience = FIRST_PATIENCE;
  /** The first window says nothing: it fills what lies between us and the line. */
  private windowsLeft = FIRST_PATIENCE + 1;
  private window = { ...BEGINNING };

  /**
   * @param clock milliseconds that only grow
   * @param activeMs how many of them our own thread was at work
   */
  constructor(
    private readonly clock: () => number,
    private readonly activeMs: () => number,
  ) {}

  heard({ wasTried, rawBytes, sentBytes, waitedMs }: SentBlock): void {
    // Blocks that were made ready before the last change of mind tell nothing of it.
    if (wasTried !== this.wantsPacked) return;
    const { window } = this;
    const now = this.clock();
    window.blocks += 1;
    if (window.blocks === 0) {
      // The first one's time is not known, only its end: from there on it is measured.
      window.since = now;
      window.activeBefore = this.activeMs();
      return;
    }
    window.rawBytes += rawBytes;
    window.sentBytes += sentBytes;
    window.waitedMs += waitedMs;
    const elapsed = now - window.since;
    if (window.blocks >= WINDOW_BLOCKS && (elapsed >= WINDOW_MS || this.isLost(elapsed))) this.judge(elapsed);
  }

  /** Whether a trial need not be waited for. */
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
    this.window = { ...BEGINNING, since: this.clock(), blocks: 0, activeBefore: active };
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

  /** To the way before, for longer than the last time. */
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
    // Begins with the first block that was made ready the new way.
    this.window = { ...BEGINNING };
  }
}
