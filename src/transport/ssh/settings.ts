/** Asks the person at the terminal. A batch run has no prompter and asks nothing. */
export interface Prompter {
  /**
   * Shows a question and resolves to the line that was typed, without its line end; null if the terminal was closed or
   * `signal` cancelled the question. Without `echo` the typed text is not shown. Rejects if the whole run is
   * interrupted, with the reason for it.
   */
  ask(
    question: string,
    wish: { readonly echo: boolean; readonly signal: AbortSignal },
  ): Promise<string | null>;
}

/** What a connection needs to know about this host and its user; the rest comes from the user's ssh configuration. */
export interface SshSettings {
  /** The user's home from the user database: OpenSSH uses that, and not HOME. */
  readonly home: string;
  /** The user to log in as if neither the target nor the configuration sets one. */
  readonly user: string;
  /** The agent's socket (SSH_AUTH_SOCK), or null. */
  readonly agentSocket: string | null;
  /** For `${NAME}` in the configuration. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Asks for passphrases, passwords and unknown host keys; null in a batch run. */
  readonly prompter: Prompter | null;
  /**
   * Secrets that the user typed and that were right: a second connection with these settings does not ask for them
   * again.
   */
  readonly remembered: Map<string, string>;
  /** How long each step without a question may take, if the configuration has no ConnectTimeout. */
  readonly connectTimeoutMs: number;
  /** How often to probe the far side, if the configuration has no ServerAliveInterval. */
  readonly keepaliveIntervalMs: number;
}

/** The settings for a user; nothing can be asked unless a prompter is added. */
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

/** A time limit that does not run while the user is asked. */
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

  /** The same prompter; each question stops the clock, and each answer restarts it. */
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

  /** Ends the limit: what was waited for has come. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #start(): void {
    if (!this.#isOver) this.#timer = setTimeout(this.onEnd, this.limitMs);
  }
}
