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
