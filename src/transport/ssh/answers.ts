import type { Prompt } from 'ssh2';
import { makeHarmless } from '../stderr-lines.js';
import type { HostConfig } from './host-config.js';
import type { Prompter } from './settings.js';

/** Answers a server's questions: with a remembered answer, or by asking the user. */
export class Answers {
  /** How many answers were refused. */
  refusals = 0;
  /** The user gave no answer: ask nothing more. */
  gaveUp = false;
  readonly #who: string;
  readonly #slot: string;
  #asked = 0;
  /** The password given last, unless it was refused. */
  #password: string | null = null;

  constructor(
    { user, name, hostName, port }: HostConfig,
    private readonly prompter: Prompter,
    private readonly remembered: Map<string, string>,
    private readonly signal: AbortSignal,
  ) {
    this.#who = `${user}@${name}`;
    this.#slot = `the password of ${user}@${hostName}:${port}`;
  }

  /** How many times the server asked for something. */
  get asked(): number {
    return this.#asked;
  }

  /** The password for the "password" method; null if the user gave none. */
  givePassword(): Promise<string | null> {
    return this.#givePassword(`${this.#who}'s password: `);
  }

  /**
   * Answers the questions of keyboard-interactive. Their text comes from a server that we have not logged in to yet,
   * so it must not control the terminal.
   */
  async answerAll(introduction: readonly string[], prompts: readonly Prompt[]): Promise<string[]> {
    this.#asked += 1;
    const lines = introduction.flatMap((text) => text.split('\n')).filter((line) => line.trim() !== '');
    let before = lines.map((line) => `(${this.#who}) ${makeHarmless(line)}\n`).join('');
    const answers: string[] = [];
    for (const { prompt, echo = false } of prompts) {
      const question = `${before}(${this.#who}) ${makeHarmless(prompt)}`;
      before = '';
      const isPassword = prompts.length === 1 && !echo && /password/i.test(prompt);
      answers.push((isPassword ? await this.#givePassword(question) : await this.#ask(question, echo)) ?? '');
    }
    return answers;
  }

  /** The server accepted none of the answers. */
  noteRefusal(): void {
    if (this.gaveUp) return;
    this.#password = null;
    this.refusals += 1;
  }

  /** The login succeeded: the password was right. */
  noteSuccess(): void {
    if (this.#password !== null) this.remembered.set(this.#slot, this.#password);
  }

  async #givePassword(question: string): Promise<string | null> {
    const known = this.remembered.get(this.#slot);
    // Used for one attempt only: after a refusal the user is asked again.
    this.remembered.delete(this.#slot);
    this.#password = known ?? (await this.#ask(question, false));
    return this.#password;
  }

  async #ask(question: string, echo: boolean): Promise<string | null> {
    if (this.gaveUp) return null;
    const answer = await this.prompter.ask(question, { echo, signal: this.signal });
    this.gaveUp = answer === null;
    return answer;
  }
}
