import type { Prompter } from '../../src/transport/ssh/index.js';

/** What was asked, as it would stand on the terminal, and whether the answer could be seen. */
export interface Asked {
  readonly question: string;
  readonly echo: boolean;
}

/** A person who gives these answers one after the other, and after the last one none. */
export class FakePrompter implements Prompter {
  readonly asked: Asked[] = [];
  readonly #answers: (string | null | Error)[];

  constructor(...answers: (string | null | Error)[]) {
    this.#answers = answers;
  }

  ask(question: string, { echo }: { readonly echo: boolean }): Promise<string | null> {
    this.asked.push({ question, echo });
    const answer = this.#answers.shift() ?? null;
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  }
}
