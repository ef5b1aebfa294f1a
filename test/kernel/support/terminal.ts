import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { quoteWords } from '../../../src/transport/shell-words.js';
import { lvmsyncCommand } from './run.js';

/** What a run left on a terminal of its own. */
export interface Conversation {
  readonly status: number | null;
  /** All that the terminal showed, what was typed and echoed included. */
  readonly shown: string;
}

/** Something to wait for on the terminal, and what to type then, without its line end. */
export type Answer = readonly [question: RegExp, answer: string];

/** Runs lvmsync on a terminal of its own, and types the answers, each when its question has come. */
export async function converse(words: readonly string[], answers: readonly Answer[]): Promise<Conversation> {
  const command = quoteWords(lvmsyncCommand(...words));
  // script(1) makes the terminal, and leaves its echo on
  const child = spawn('script', ['-q', '-e', '-f', '-E', 'always', '-c', command, '/dev/null']);
  const left = [...answers];
  let shown = '';
  let asked = '';
  child.stdout.on('data', (piece: Buffer) => {
    shown += piece.toString();
    asked += piece.toString();
    const next = left[0];
    if (next?.[0].test(asked) !== true) return;
    left.shift();
    asked = '';
    child.stdin.write(`${next[1]}\r`);
  });
  const [status] = (await once(child, 'close')) as [number | null];
  if (left.length > 0) throw new Error(`nobody asked ${String(left[0]?.[0])}: ${shown}`);
  return { status, shown };
}
