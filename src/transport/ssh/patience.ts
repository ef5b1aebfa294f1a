import type { Prompter } from './prompter.js';

/** A time limit that does not run while a person is asked. */
export class Patience {
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  /** @param onEnd called once when the limit has passed without a pause */
  constructor(
    private readonly limitMs: number,
    private readonly onEnd: () => void,
  ) {
    this.#start();
  }

  /** The same prompter; each question stops the clock, and each answer sets it back. */
  pausedBy(prompter: Prompter): Prompter {
    return {
      ask: async (question, wish) => {
        clearTimeout(this.#timer);
        try {
          return await prompter.ask(question, wish);
        } finally {
          this.#start();
        }
      },
    };
  }

  /** What was waited for has come. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #start(): void {
    if (!this.#isOver) this.#timer = setTimeout(this.onEnd, this.limitMs);
  }
}
