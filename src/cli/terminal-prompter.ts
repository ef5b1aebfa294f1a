import { closeSync, openSync, writeSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { ReadStream } from 'node:tty';
import type { Prompter } from '../transport/ssh/index.js';

const TERMINAL = '/dev/tty';

/**
 * Asks on the controlling terminal of this process, whatever stdin and stdout are, as ssh does. Null if there is no
 * terminal. `interrupted` rejects a question with its reason. The terminal's mode is restored however a question ends.
 */
export function openTerminalPrompter(interrupted: AbortSignal): Prompter | null {
  try {
    closeSync(openSync(TERMINAL, 'r+'));
  } catch {
    return null;
  }
  return { ask: (question, { echo, signal }) => ask(question, echo, signal, interrupted) };
}

function ask(
  question: string,
  echo: boolean,
  signal: AbortSignal,
  interrupted: AbortSignal,
): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const output = openSync(TERMINAL, 'w');
    const input = new ReadStream(openSync(TERMINAL, 'r'));
    let isOver = false;
    const finish = (settle: () => void): void => {
      if (isOver) return;
      isOver = true;
      signal.removeEventListener('abort', giveUp);
      interrupted.removeEventListener('abort', stop);
      // Raw mode hides what is typed. If the process ends in the middle of a question, Node restores the mode.
      if (!echo) input.setRawMode(false);
      input.destroy();
      // In these cases the terminal has not shown the end of the line.
      if (!echo || signal.aborted || interrupted.aborted) writeSync(output, '\n');
      closeSync(output);
      settle();
    };
    const giveUp = (): void => {
      finish(() => {
        resolve(null);
      });
    };
    const stop = (): void => {
      finish(() => {
        reject(interrupted.reason as Error);
      });
    };
    if (signal.aborted || interrupted.aborted) {
      (interrupted.aborted ? stop : giveUp)();
      return;
    }
    signal.addEventListener('abort', giveUp);
    interrupted.addEventListener('abort', stop);
    // Before the question is shown, so that an answer typed early is hidden too.
    if (!echo) input.setRawMode(true);
    const line = new TypedLine();
    input.on('data', (piece: Buffer) => {
      const end = line.type(piece);
      if (end === 'interrupted') process.kill(process.pid, 'SIGINT');
      else if (end !== null) {
        finish(() => {
          resolve(end === 'closed' ? null : line.text);
        });
      }
    });
    input.once('end', giveUp).once('error', giveUp);
    writeSync(output, question);
  });
}

/** A line that is typed key by key in raw mode, with the editing keys that a terminal usually handles itself. */
export class TypedLine {
  #characters: string[] = [];
  readonly #decoder = new StringDecoder('utf8');

  get text(): string {
    return this.#characters.join('');
  }

  /** Takes what was typed; returns how the line ended, or null if it has not ended. */
  type(piece: Buffer): 'done' | 'closed' | 'interrupted' | null {
    for (const character of this.#decoder.write(piece)) {
      switch (character) {
        case '\r':
        case '\n':
          return 'done';
        case '\x03':
          return 'interrupted';
        case '\x04':
          if (this.#characters.length === 0) return 'closed';
          break;
        case '\x7f':
        case '\b':
          this.#characters.pop();
          break;
        case '\x15':
          this.#characters = [];
          break;
        default:
          this.#characters.push(character);
      }
    }
    return null;
  }
}
