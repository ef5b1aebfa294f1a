import { closeSync, openSync, writeSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { ReadStream } from 'node:tty';
import type { Prompter } from '../transport/ssh/index.js';

const TERMINAL = '/dev/tty';

/**
 * Asks on the terminal that this process belongs to, whatever stdin and stdout are, as ssh does. Null where there is
 * none. `interrupted` ends a question by its reason; the terminal is put right again however one ends.
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
      // Raw mode is for keys that are not to be seen; a process that ends in the middle is put right by Node.
      if (!echo) input.setRawMode(false);
      input.destroy();
      // The terminal has shown no line end of its own.
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
    // Before the question is there, so that no answer comes too early to be hidden.
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

/** A line that is typed key by key, with the keys that a terminal itself understands while it shows them. */
export class TypedLine {
  #characters: string[] = [];
  readonly #decoder = new StringDecoder('utf8');

  get text(): string {
    return this.#characters.join('');
  }

  /** Takes what was typed; tells how the line ended, or null while it goes on. */
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
