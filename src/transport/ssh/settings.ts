/** Asks the person at the terminal. There is none in a batch: then nothing is asked at all. */
export interface Prompter {
  /**
   * Shows a question and resolves to the line that was typed, without its end; null where the terminal was closed
   * or `signal` gave the question up. Without `echo` what is typed is not shown. Rejects with the reason of an
   * interruption of the whole run.
   */
  ask(
    question: string,
    wish: { readonly echo: boolean; readonly signal: AbortSignal },
  ): Promise<string | null>;
}

/** What a connection needs to know about this host and its user; the rest is in the user's ssh configuration. */
export interface SshSettings {
  /** The user's home, as the user database has it: OpenSSH goes by that, and not by HOME. */
  readonly home: string;
  /** Logs in as this user where neither the target nor the configuration names one. */
  readonly user: string;
  /** The agent's socket (SSH_AUTH_SOCK), or null. */
  readonly agentSocket: string | null;
  /** For `${NAME}` in the configuration. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Whom to ask for passphrases, passwords and unknown host keys; null in a batch. */
  readonly prompter: Prompter | null;
  /** Secrets that were asked for and were right: whoever connects once more with these settings is not asked again. */
  readonly remembered: Map<string, string>;
  /** How long each step without a person may take, where the configuration has no ConnectTimeout. */
  readonly connectTimeoutMs: number;
  /** How often the far side is asked for a sign of life, where the configuration has no ServerAliveInterval. */
  readonly keepaliveIntervalMs: number;
}

/** The settings for a user, who can be asked nothing unless a prompter is added. */
export function defaultSshSettings(home: string, user: string, agentSocket: string | null): SshSettings {
  return {
    home,
    user,
    agentSocket,
    environment: {},
    prompter: null,
    remembered: new Map(),
    connectTimeoutMs: 30_000,
    keepaliveIntervalMs: 15_000,
  };
}

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
