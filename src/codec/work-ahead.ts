/**
 * Starts work on what a source gives, on at most `limit` things at once, and gives the results in the source's
 * order, each as soon as it is there: none waits for the source to give more. An error, of the source or of the
 * work, comes in its turn.
 *
 * @param drop is given what nobody takes any more, after an error or when the consumer leaves
 */
export async function* workAhead<Thing, Result>(
  source: AsyncIterable<Thing>,
  limit: number,
  work: (thing: Thing) => Promise<Result>,
  drop: (result: Result) => void,
): AsyncGenerator<Result> {
  const queue = new Queue<Result>(limit);
  const feeding = feed(source, queue, work);
  // Met below, behind what the source gave before.
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

/** Work under way, oldest first, with one who puts in and one who takes out. */
class Queue<Result> {
  readonly waiting: Promise<Result>[] = [];
  /** The one that was taken last counts until the next is asked for: it may still be under way. */
  private taken = 0;
  private isEnded = false;
  private isClosed = false;
  private wakeTaker: () => void = () => undefined;
  private wakeFeeder: () => void = () => undefined;

  constructor(private readonly limit: number) {}

  put(result: Promise<Result>): void {
    // Its failure is met in its turn, or not at all when an earlier one failed.
    result.catch(() => undefined);
    this.waiting.push(result);
    this.wakeTaker();
  }

  /** False once nobody takes any more. */
  async waitForRoom(): Promise<boolean> {
    while (!this.isClosed && this.waiting.length + this.taken >= this.limit) {
      await new Promise<void>((wake) => (this.wakeFeeder = wake));
    }
    return !this.isClosed;
  }

  /** Waits for something to take, or the end. The one taken before is done with. */
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
