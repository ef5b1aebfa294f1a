import type { AnyAuthMethod, AuthenticationType, AuthHandlerMiddleware } from 'ssh2';
import { Answers } from './answers.js';
import type { HostConfig } from './host-config.js';
import { type KeyFiles, createKeyOpener } from './keys.js';
import { collectKeys, type OfferedKey } from './offered-keys.js';
import type { Prompter } from './settings.js';

/** Offers what this user has, one after another, within one connection. */
export interface Login {
  readonly authHandler: AuthHandlerMiddleware;
  /** The login succeeded: remembers the answers that were right. */
  noteSuccess(): void;
  /** What was tried and why it was not enough: the end of a sentence. */
  describeFailure(): string;
}

/** What a login can use. */
export interface LoginMeans {
  readonly keys: KeyFiles;
  /** Null in a batch. */
  readonly prompter: Prompter | null;
  readonly remembered: Map<string, string>;
  /** Aborted when the connection is over: an open question is then of no use. */
  readonly signal: AbortSignal;
  /** Receives what ends the login at once, such as an interruption by the user. */
  readonly fail: (error: unknown) => void;
}

/**
 * Prepares a login in OpenSSH's order: the keys of agent and files, keyboard-interactive, password. Starts again from
 * the keys if the server accepted one method and wants another.
 */
export function prepareLogin(config: HostConfig, means: LoginMeans): Login {
  const attempts = new LoginAttempts(config, means);
  const offers = attempts.offers();
  return {
    authHandler: (methodsLeft: AuthenticationType[] | null, partialSuccess, next) => {
      attempts.hearVerdict(methodsLeft, partialSuccess);
      offers.next().then(({ value, done }) => {
        // ssh2 expects false at the end of the list; its types do not allow that.
        next(done === true ? (false as never) : value);
      }, means.fail);
    },
    noteSuccess: () => attempts.answers?.noteSuccess(),
    describeFailure: () => attempts.describeFailure(),
  };
}

class LoginAttempts {
  /** Null if there is no one to ask. */
  readonly answers: Answers | null;
  readonly #tried = new Set<string>();
  readonly #problems: string[];
  readonly #keyOpener;
  /** The methods that the server still accepts; null before it said so. */
  #accepted: readonly string[] | null = null;
  /** How many times it accepted a method and wanted another. */
  #taken = 0;

  constructor(
    private readonly config: HostConfig,
    private readonly means: LoginMeans,
  ) {
    const { prompter, remembered, signal } = means;
    this.#problems = [...means.keys.unusable];
    this.#keyOpener = createKeyOpener(prompter, remembered, signal);
    this.answers = prompter === null ? null : new Answers(config, prompter, remembered, signal);
  }

  hearVerdict(methodsLeft: readonly string[] | null, partialSuccess: boolean): void {
    this.#accepted = methodsLeft ?? this.#accepted;
    if (partialSuccess) this.#taken += 1;
  }

  async *offers(): AsyncGenerator<AnyAuthMethod, undefined> {
    const { user: username, methods } = this.config;
    // ssh, too, begins with "none": the refusal lists the methods that the server accepts.
    yield { type: 'none', username };
    for (let taken = -1; taken < this.#taken;) {
      taken = this.#taken;
      if (methods.publickey) yield* this.#offerKeys();
      if (this.answers === null) continue;
      if (methods.keyboardInteractive) yield* this.#offerToAnswer(this.answers);
      if (methods.password) yield* this.#offerPasswords(this.answers);
    }
  }

  async *#offerKeys(): AsyncGenerator<AnyAuthMethod> {
    const { user: username } = this.config;
    if (!this.#takes('publickey')) return;
    for (const agent of await this.#collectKeys()) {
      if (!this.#takes('publickey')) return;
      this.#tried.add(agent.label);
      yield { type: 'agent', username, agent };
      if (agent.hasSigned) yield* this.#askForVerdict();
    }
    // Keys whose public half is also locked come last: each needs a question.
    for (const file of this.means.keys.usable.filter(({ publicKey }) => publicKey === null)) {
      if (!this.#takes('publickey')) return;
      const key = await this.#keyOpener.open(file);
      if (key === null) continue;
      this.#tried.add(file.path);
      yield { type: 'publickey', username, key };
    }
  }

  /** After an agent's signature, ssh2 does not report that the server accepted the key and now wants another method. */
  *#askForVerdict(): Generator<AnyAuthMethod> {
    const before = this.#accepted?.join();
    yield { type: 'none', username: this.config.user };
    if (this.#accepted?.join() !== before) this.#taken += 1;
  }

  #collectKeys(): Promise<OfferedKey[]> {
    const { agentSocket, identitiesOnly } = this.config;
    return collectKeys({
      ...{ agentSocket, files: this.means.keys.usable, identitiesOnly },
      open: (file) =>
        this.#keyOpener.open(file).catch((error: unknown) => {
          this.means.fail(error);
          return null;
        }),
      noteAgentFailure: (problem) => {
        this.#problems.push(`the agent at ${agentSocket ?? ''} failed (${problem})`);
      },
    });
  }

  *#offerToAnswer(answers: Answers): Generator<AnyAuthMethod> {
    for (let attempt = 0; attempt < this.config.passwordPrompts; attempt++) {
      if (!this.#takes('keyboard-interactive') || answers.gaveUp) return;
      const { asked } = answers;
      const taken = this.#taken;
      yield {
        type: 'keyboard-interactive',
        username: this.config.user,
        // oxlint-disable-next-line max-params -- ssh2 calls it so
        prompt: (name, text, _language, prompts, finish) => {
          answers.answerAll([name, text], prompts).then(finish, this.means.fail);
        },
      };
      // A server that refuses without a question will not ask next time.
      if (answers.asked === asked) return;
      if (this.#taken === taken) answers.noteRefusal();
    }
  }

  async *#offerPasswords(answers: Answers): AsyncGenerator<AnyAuthMethod> {
    for (let attempt = 0; attempt < this.config.passwordPrompts; attempt++) {
      if (!this.#takes('password') || answers.gaveUp) return;
      const taken = this.#taken;
      const password = await answers.givePassword();
      if (password === null) return;
      yield { type: 'password', username: this.config.user, password };
      if (this.#taken === taken) answers.noteRefusal();
    }
  }

  #takes(method: string): boolean {
    return this.#accepted?.includes(method) ?? true;
  }

  describeFailure(): string {
    const { user } = this.config;
    const accepted = this.#accepted ?? [];
    const said: string[] = [];
    if (accepted.includes('publickey') || this.#tried.size > 0) {
      const tried = this.#tried.size === 0 ? 'no key to offer' : `tried ${[...this.#tried].join(', ')}`;
      said.push(`permission denied for ${user}: none of our keys was accepted: ${tried}`);
    } else {
      said.push(`permission denied for ${user}: it accepts no keys, only ${accepted.join(', ')}`);
    }
    said.push(...this.#problems, ...this.#keyOpener.problems);
    const refusals = this.answers?.refusals ?? 0;
    if (refusals > 0) said.push(`the answer was refused (${refusals} times)`);
    if (this.answers?.gaveUp === true) said.push('no answer was given');
    if (this.answers === null && accepted.some((each) => /^(password|keyboard)/.test(each))) {
      said.push('it wants a password, but there is no one to ask: no terminal, or a batch run');
    }
    return said.join('; ');
  }
}
