import type { ParsedKey } from 'ssh2';
import { unlockKey, type KeyFile } from './keys.js';
import type { Prompter } from './prompter.js';

/** How often a passphrase is asked for, as in ssh. */
const TRIES = 3;

/** Opens identity files, and asks for passphrases where that takes one. */
export interface KeyOpener {
  /** A file's private key; null where there is none to be had. */
  open(file: KeyFile): Promise<ParsedKey | null>;
  /** One phrase for each file that stayed locked. */
  readonly problems: readonly string[];
}

/** Makes an opener that asks nobody where `prompter` is null. What was right goes into `remembered`. */
export function createKeyOpener(
  prompter: Prompter | null,
  remembered: Map<string, string>,
  signal: AbortSignal,
): KeyOpener {
  const problems: string[] = [];
  const refuse = (file: KeyFile, problem: string): null => {
    problems.push(`${file.path} ${problem}`);
    return null;
  };
  return {
    problems,
    open: async (file) => {
      if (file.privateKey !== 'locked') return file.privateKey;
      const slot = `the passphrase of ${file.path}`;
      const known = remembered.get(slot);
      const key = known === undefined ? null : unlockKey(file, known);
      if (key !== null) return key;
      if (prompter === null) {
        return refuse(file, 'needs a passphrase: load it into an agent (ssh-add), as there is nobody to ask');
      }
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const again = attempt === 0 ? '' : 'That was not it. ';
        const question = `${again}Passphrase of the key ${file.path}: `;
        const passphrase = await prompter.ask(question, { echo: false, signal });
        if (passphrase === null || passphrase === '')
          return refuse(file, 'stayed locked: no passphrase was given');
        const opened = unlockKey(file, passphrase);
        if (opened === null) continue;
        remembered.set(slot, passphrase);
        return opened;
      }
      return refuse(file, `stayed locked: the passphrase was wrong ${TRIES} times`);
    },
  };
}
