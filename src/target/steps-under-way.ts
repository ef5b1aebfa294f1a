/** Steps that run beside each other, some after others. The first that fails is remembered. */
export class StepsUnderWay {
  private readonly underWay = new Set<Promise<void>>();
  private failure: unknown = null;

  /** Does `work` once all of `before` are done; rejects as the first of them, and then does nothing. */
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

  /** Waits until none is under way, whatever comes of them. */
  async settle(): Promise<void> {
    while (this.underWay.size > 0) await Promise.allSettled(this.underWay);
  }

  /** Throws what the first failed step threw. */
  throwFailure(): void {
    if (this.failure === null) return;
    throw this.failure instanceof Error ? this.failure : new Error('a step failed', { cause: this.failure });
  }
}
