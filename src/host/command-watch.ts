import { performance } from 'node:perf_hooks';
import { findLockWait } from './file-locks.js';
import { lastToChange } from './system-calls.js';
import { findUdevCookies, isUdevListening, UDEV_ADVICE, type UdevCookie } from './udev.js';

/** How often a command is looked at. Milliseconds, as all below. */
const LOOK_EVERY_MS = 250;
/** After this the user is told what a command waits for. */
const TELL_AFTER_MS = 2000;
/** After this the user is told about a question that takes long for no visible reason. */
const SLOW_AFTER_MS = 10_000;
/** How long to wait for a lock that another process holds, or for an answer. */
const LOCK_LIMIT_MS = 300_000;
/** How long to wait for udev: when it runs, and when it does not. */
const UDEV_LIMIT_MS = 60_000;
const DEAD_UDEV_LIMIT_MS = 3000;
/** How long a running command may take to end by itself once the user interrupts us. */
const GRACE_MS = 500;

/** A question changes nothing and can be stopped. A change runs to its end, unless it only waits. */
export type WatchedKind = 'question' | 'change';

/** The command that is watched. */
export interface WatchedCommand {
  readonly name: string;
  readonly pid: number;
  readonly kind: WatchedKind;
  /** How long a question may take. Infinity: only the limits for what it waits for apply. */
  readonly patienceMs: number;
  /** Asks it to end. LVM obeys while it waits for a lock, and delays this while it changes anything. */
  end(): void;
  /** Completes a udev cookie: a process that waits for udev through it stops waiting. */
  completeCookie(name: string): Promise<void>;
}

/** Where notices go, and the signal that interrupts. */
export interface WatchSurroundings {
  readonly notice: (line: string) => void;
  readonly signal: AbortSignal;
}

/** What a command waits for. */
interface Wait {
  /** Tells this wait from another. */
  readonly key: string;
  /** What it waits for, in words after "is waiting for". */
  readonly words: string;
  readonly limitMs: number;
  /** The reason to report when the command is made to give up. */
  readonly gaveUp: string;
  giveUp(): Promise<void>;
}

/**
 * Watches a command of LVM or device-mapper while it runs. Reports what it waits for, limits how long it waits, and
 * makes it give up if it only waits when the user interrupts us. A command that is started after that, to clean up, may
 * wait for a moment.
 */
export class CommandWatch {
  /** Why it was made to give up; null: it was not. */
  gaveUp: string | null = null;

  private readonly interrupted: Promise<never>;
  private interrupt: (reason: Error) => void = () => undefined;
  private readonly abandoned: Promise<null>;
  private abandon: () => void = () => undefined;
  private readonly startedAt = performance.now();
  private readonly startTime = Date.now();
  private abortedAt: number | null = null;
  /** Whether it was started after the user interrupted us. */
  private readonly isCleanUp: boolean;
  private readonly timer: NodeJS.Timeout;
  private isLooking = false;
  private readonly told = new Set<string>();
  private readonly firstSeen = new Map<string, number>();

  constructor(
    private readonly command: WatchedCommand,
    private readonly env: WatchSurroundings,
  ) {
    this.isCleanUp = env.signal.aborted;
    this.interrupted = new Promise((_resolve, reject) => (this.interrupt = reject));
    this.interrupted.catch(() => undefined);
    this.abandoned = new Promise((resolve) => {
      this.abandon = () => {
        resolve(null);
      };
    });
    this.timer = setInterval(() => void this.look(), LOOK_EVERY_MS);
  }

  /**
   * The command's outcome; null: a question took longer than its patience. Throws the interruption that made the
   * command give up; then it does not wait for a question to end.
   */
  async race<T>(ended: Promise<T>): Promise<T | null> {
    try {
      const outcome = await Promise.race([ended, this.interrupted, this.abandoned]);
      const wasInterrupted = this.gaveUp !== null && !this.isCleanUp && this.env.signal.aborted;
      if (wasInterrupted) throw this.env.signal.reason as Error;
      return outcome;
    } finally {
      clearInterval(this.timer);
    }
  }

  private async look(): Promise<void> {
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      await this.act(performance.now());
    } finally {
      this.isLooking = false;
    }
  }

  private async act(now: number): Promise<void> {
    const { signal } = this.env;
    if (signal.aborted) this.abortedAt ??= now;
    const isUrgent = !this.isCleanUp && this.abortedAt !== null && now - this.abortedAt >= GRACE_MS;
    if (isUrgent && this.command.kind === 'question') {
      this.gaveUp = 'interrupted';
      this.command.end();
      this.interrupt(signal.reason as Error);
      return;
    }
    const ranFor = now - this.startedAt;
    const isTooLate = ranFor >= this.command.patienceMs;
    if (!isUrgent && !isTooLate && ranFor < TELL_AFTER_MS) return;
    const wait = await this.findWait();
    if (isTooLate) {
      this.gaveUp = wait?.gaveUp ?? `no answer within ${this.command.patienceMs / 1000} s`;
      this.command.end();
      // A command that the kernel blocks, for example on a suspended device, does not obey even that.
      this.abandon();
      return;
    }
    if (wait === null) {
      this.judgeSlow(ranFor);
      return;
    }
    this.tell(wait.key, `${this.command.name} is waiting for ${wait.words}`);
    const since = this.firstSeen.get(wait.key) ?? now;
    this.firstSeen.set(wait.key, since);
    const limit = isUrgent ? GRACE_MS : this.isCleanUp ? TELL_AFTER_MS : wait.limitMs;
    if (now - since < limit) return;
    this.gaveUp = wait.gaveUp;
    await wait.giveUp();
  }

  private judgeSlow(ranFor: number): void {
    const { name, kind } = this.command;
    if (kind === 'change' || ranFor < SLOW_AFTER_MS) return;
    this.tell('slow', `${name} has not answered for ${SLOW_AFTER_MS / 1000} s`);
    if (ranFor < LOCK_LIMIT_MS) return;
    this.gaveUp = `no answer within ${LOCK_LIMIT_MS / 1000} s`;
    this.command.end();
  }

  private tell(key: string, line: string): void {
    if (this.told.has(key)) return;
    this.told.add(key);
    this.env.notice(line);
  }

  private async findWait(): Promise<Wait | null> {
    return this.findLock() ?? (await this.findUdev());
  }

  private findLock(): Wait | null {
    const lock = findLockWait(this.command.pid);
    if (lock === null) return null;
    const which = lock.path === null ? 'a lock' : `the lock ${lock.path}`;
    const { holders } = lock;
    const words = holders.length === 0 ? which : `${which}, held by ${holders.join(' and ')}`;
    return {
      key: which,
      words,
      limitMs: LOCK_LIMIT_MS,
      gaveUp: `timed out waiting for ${words}: wait until the lock is released, and try again`,
      giveUp: () => {
        this.command.end();
        return Promise.resolve();
      },
    };
  }

  private async findUdev(): Promise<Wait | null> {
    const cookie = await this.findOwnCookie();
    if (cookie === null) return null;
    const isThere = isUdevListening();
    const words = isThere ? 'udev to process an event' : 'udev, which is not running here';
    return {
      key: cookie.name,
      words,
      limitMs: isThere ? UDEV_LIMIT_MS : DEAD_UDEV_LIMIT_MS,
      gaveUp: `LVM timed out waiting for ${words}; ${UDEV_ADVICE}`,
      giveUp: () => this.command.completeCookie(cookie.name),
    };
  }

  /**
   * The cookie that this command waits for: the command was the last to change it. A cookie of another program is not
   * ours to complete, and udev is at work on one that it has begun to count down.
   */
  private async findOwnCookie(): Promise<UdevCookie | null> {
    // The times of semaphores are in whole seconds.
    const isNew = ({ madeAt }: UdevCookie) => madeAt * 1000 > this.startTime - 1000;
    for (const cookie of findUdevCookies().filter(isNew)) {
      const pid = await lastToChange(cookie.semid).catch(() => null);
      if (pid === this.command.pid) return cookie;
    }
    return null;
  }
}
