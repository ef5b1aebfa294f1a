/**
 * Starts work on the things from a source, on at most `limit` at once, and yields the results in the source's order,
 * each as soon as it is ready, without waiting for the source to produce more. An error, of the source or of the work,
 * comes in its turn.
 *
 * @param drop receives results that are no longer wanted, after an error or when the consumer leaves
 */
export async function* workAhead<Thing, Result>(
  source: AsyncIterable<Thing>,
  limit: number,
  work: (thing: Thing) => Promise<Result>,
  drop: (result: Result) => void,
): AsyncGenerator<Result> {
  const queue = new Queue<Result>(limit);
  const feeding = feed(source, queue, work);
  // Reported below, after the results that came before it.
  const fed = feeding.catch(() => undefined);
  try {
    while (await queue.hasNext()) yield await queue.next();
    await feeding;
  } finally {
    queue.close();
    await fed;
    for (const left of await Promise.allSettled(queue.waiting)) {
      if (left.status === 'fulfilled') drop(left.value);
    }
  }
}

async function feed<Thing, Result>(
  source: AsyncIterable<Thing>,
  queue: Queue<Result>,
  work: (thing: Thing) => Promise<Result>,
): Promise<void> {
  try {
    for await (const thing of source) {
      queue.put(work(thing));
      if (!(await queue.waitForRoom())) return;
    }
  } finally {
    queue.end();
  }
}

/** Work under way, oldest first, with one producer and one consumer. */
class Queue<Result> {
  readonly waiting: Promise<Result>[] = [];
  /** The last taken result counts until the next one is asked for, because it may still be in use. */
  private taken = 0;
  private isEnded = false;
  private isClosed = false;
  private wakeTaker: () => void = () => undefined;
  private wakeFeeder: () => void = () => undefined;

  constructor(private readonly limit: number) {}

  put(result: Promise<Result>): void {
    // The failure is reported in its turn, or not at all if an earlier one failed.
    result.catch(() => undefined);
    this.waiting.push(result);
    this.wakeTaker();
  }

  /** False once the consumer has left. */
  async waitForRoom(): Promise<boolean> {
    while (!this.isClosed && this.waiting.length + this.taken >= this.limit) {
      await new Promise<void>((wake) => (this.wakeFeeder = wake));
    }
    return !this.isClosed;
  }

  /** Waits for a result, or the end. The previous result is no longer in use. */
  async hasNext(): Promise<boolean> {
    this.taken = 0;
    this.wakeFeeder();
    while (this.waiting.length === 0 && !this.isEnded) {
      await new Promise<void>((wake) => (this.wakeTaker = wake));
    }
    return this.waiting.length > 0;
  }

  /** The oldest. */
  next(): Promise<Result> {
    const first = this.waiting.shift();
    if (first === undefined) throw new Error('nothing waits');
    this.taken = 1;
    return first;
  }

  end(): void {
    this.isEnded = true;
    this.wakeTaker();
  }

  close(): void {
    this.isClosed = true;
    this.wakeFeeder();
  }
}

/** Steps that run at the same time, or after others. Remembers the first failure. */
export class StepsUnderWay {
  private readonly underWay = new Set<Promise<void>>();
  private failure: unknown = null;

  /**
   * Does `work` once all of `before` have resolved. If one of them rejects, rejects with its error and does nothing.
   */
  start(before: readonly Promise<void>[], work: () => Promise<void>): Promise<void> {
    const step = (async () => {
      for (const each of before) await each;
      await work();
    })();
    this.underWay.add(step);
    step.then(
      () => this.underWay.delete(step),
      (error: unknown) => {
        this.failure ??= error;
        this.underWay.delete(step);
      },
    );
    return step;
  }

  /** Waits until no step is running, whatever their outcomes. */
  async settle(): Promise<void> {
    while (this.underWay.size > 0) await Promise.allSettled(this.underWay);
  }

  /** Throws the error of the first step that failed, if any. */
  throwFailure(): void {
    if (this.failure === null) return;
    throw this.failure instanceof Error ? this.failure : new Error('a step failed', { cause: this.failure });
  }
}
