import { performance } from 'node:perf_hooks';
import { findLockWait } from './file-locks.js';
import { lastToChange } from './system-calls.js';
import { findUdevCookies, isUdevListening, UDEV_ADVICE, type UdevCookie } from './udev.js';

/** How often a command is looked at. Milliseconds, as all below. */
const LOOK_EVERY_MS = 250;
/** After this the user is told what a command waits for. */
const TELL_AFTER_MS = 2000;
/** A question that takes so long without a reason that shows is worth a word. */
const SLOW_AFTER_MS = 10_000;
/** So long another's lock, or an answer, is waited for. */
const LOCK_LIMIT_MS = 300_000;
/** So long udev is waited for, and so long where nobody listens. */
const UDEV_LIMIT_MS = 60_000;
const DEAD_UDEV_LIMIT_MS = 3000;
/** What runs when the user interrupts us has so long to end by itself. */
const GRACE_MS = 500;

/** What a command is to us: it changes nothing; or it does, and comes to its end unless it only waits. */
export type WatchedKind = 'question' | 'change';

/** The command that is watched. */
export interface WatchedCommand {
  readonly name: string;
  readonly pid: number;
  readonly kind: WatchedKind;
  /** So long a question may take; Infinity where the limits for what it waits for are all that there is. */
  readonly patienceMs: number;
  /** Asks it to end. LVM heeds this while it waits for a lock, and puts it off while it changes anything. */
  end(): void;
  /** Tells those who wait for udev by this cookie that it has done its part. */
  completeCookie(name: string): Promise<void>;
}

/** Who is told, and whose interruption counts. */
export interface WatchSurroundings {
  readonly notice: (line: string) => void;
  readonly signal: AbortSignal;
}

/** What a command waits for. */
interface Wait {
  /** What tells it from another. */
  readonly key: string;
  /** What it waits for, in words behind its name. */
  readonly words: string;
  readonly limitMs: number;
  /** What is said where it was made to give up. */
  readonly gaveUp: string;
  giveUp(): Promise<void>;
}

/**
 * Watches one of LVM's or device-mapper's commands while it runs. Says what it waits for, lets none wait without end,
 * and makes those that only wait give up once the user interrupts us. What is started after that, to clean up, may
 * wait a moment.
 */
export class CommandWatch {
  /** Why it was made to give up; null where it was not. */
  gaveUp: string | null = null;

  private readonly interrupted: Promise<never>;
  private interrupt: (reason: Error) => void = () => undefined;
  private readonly abandoned: Promise<null>;
  private abandon: () => void = () => undefined;
  private readonly startedAt = performance.now();
  private readonly startTime = Date.now();
  private abortedAt: number | null = null;
  /** Whether it was started when the user had interrupted us. */
  private readonly isCleanUp: boolean;
  private readonly timer: NodeJS.Timeout;
  private isLooking = false;
  private readonly told = new Set<string>();
  private readonly firstSeen = new Map<string, number>();

  constructor(
    private readonly command: WatchedCommand,
    private readonly about: WatchSurroundings,
  ) {
    this.isCleanUp = about.signal.aborted;
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
   * The command's end; throws the interruption that made it give up, and does not wait for a question's end then. Null
   * of a question that took longer than whoever asked it has patience.
   */
  async race<T>(ended: Promise<T>): Promise<T | null> {
    try {
      const outcome = await Promise.race([ended, this.interrupted, this.abandoned]);
      const wasInterrupted = this.gaveUp !== null && !this.isCleanUp && this.about.signal.aborted;
      if (wasInterrupted) throw this.about.signal.reason as Error;
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
    const { signal } = this.about;
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
      // What the kernel keeps, as on a suspended device, does not heed even that.
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
    this.about.notice(line);
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
   * The cookie by which the command itself waits: it was the last to count it up. Another program's is not ours to
   * complete, and one that udev has begun to count down is in udev's hands.
   */
  private async findOwnCookie(): Promise<UdevCookie | null> {
    // Semaphores have whole seconds.
    const isNew = ({ madeAt }: UdevCookie) => madeAt * 1000 > this.startTime - 1000;
    for (const cookie of findUdevCookies().filter(isNew)) {
      const pid = await lastToChange(cookie.semid).catch(() => null);
      if (pid === this.command.pid) return cookie;
    }
    return null;
  }
}
