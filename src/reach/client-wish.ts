import { join } from 'node:path';
import { CommandError, UsageError } from '../errors.js';
import type { ApplyPolicy } from '../targets/apply-policy.js';
import { takeFarCommand } from '../transport/remote-command.js';
import { readQuotedWords } from '../transport/shell-words.js';

/** What a client of a locked-down receiver may ask for. */
export type ClientWish =
  | { readonly kind: 'receive'; readonly words: readonly string[] }
  | { readonly kind: 'doctor' }
  | { readonly kind: 'version' };

/**
 * Reads a client's command, which sshd hands over as one string; it is never run. Throws CommandError where it is
 * nothing that an lvmsync sends.
 */
export function readClientCommand(command: string | null): ClientWish {
  if (command === null || command === '') {
    throw refusal(
      'no command came with the connection: it is for an lvmsync that sends to this host ' +
        '(behind sudo, sudoers must keep SSH_ORIGINAL_COMMAND)',
    );
  }
  const words = wordsOf(command);
  const [first, ...more] = words ?? [];
  if (first === 'receive') return { kind: 'receive', words: more };
  if (words?.join(' ') === 'doctor --answer') return { kind: 'doctor' };
  if (words?.join(' ') === '--version') return { kind: 'version' };
  throw refusal('this key is for an lvmsync of version 4 that sends to this host, and for no other command');
}

function wordsOf(command: string): string[] | null {
  try {
    return takeFarCommand(readQuotedWords(command));
  } catch (error) {
    if (error instanceof UsageError) return null;
    throw error;
  }
}

function refusal(problem: string): CommandError {
  return new CommandError(['lvmsync receive --restrict'], null, '', problem);
}

/** A session that a client asks for, as far as a locked-down receiver lets it choose. */
export interface ClientSession {
  readonly target: string;
  /** A plain file name. */
  readonly snapback: string | null;
  readonly stopOnMismatch: boolean;
  readonly dryRun: boolean;
  readonly readOnly: boolean;
}

/**
 * Reads the words after `receive`: options with their values as words of their own, `--`, the target. Only what asks
 * for less, or for more caution, is a client's to say; all else is the administrator's. Throws UsageError.
 */
export function readClientSession(words: readonly string[]): ClientSession {
  let snapback: string | null = null;
  const given = { stopOnMismatch: false, dryRun: false, readOnly: false };
  const left = [...words];
  for (let word = left.shift(); word !== '--'; word = left.shift()) {
    switch (word) {
      case '--dry-run':
        given.dryRun = true;
        break;
      case '--read-only':
        given.readOnly = true;
        break;
      case '--on-base-mismatch':
        given.stopOnMismatch = readAction(left.shift());
        break;
      case '--snapback':
        snapback = readFileName(left.shift());
        break;
      default:
        throw new UsageError(
          `this receiver is locked down: ${word ?? 'no target'} is not for its clients to say`,
        );
    }
  }
  const [target, ...more] = left;
  if (target === undefined || target === '' || more.length > 0) {
    throw new UsageError('this receiver is locked down: one target follows the options, after --');
  }
  if (given.readOnly && snapback !== null) throw new UsageError('--snapback cannot be used with --read-only');
  return { target, snapback, ...given };
}

function readAction(word: string | undefined): boolean {
  if (word === 'stop' || word === 'resend') return word === 'stop';
  throw new UsageError('--on-base-mismatch: resend or stop');
}

/** A file's name that is none of a folder, hidden, or of an undo log that is under way. */
function readFileName(word: string | undefined): string {
  const name = word ?? '';
  if (/^[A-Za-z0-9_+@%,:][A-Za-z0-9_+@%,:.-]{0,199}$/.test(name) && !name.endsWith('.partial')) return name;
  throw new UsageError(
    'this receiver is locked down: --snapback takes a plain file name of letters, digits and _+@%,:.- here',
  );
}

/**
 * The administrator's policy with what a client adds to it; its snapback lies in `snapbackDir`. Throws UsageError
 * where there is no such folder for it.
 */
export function combinePolicy(
  policy: ApplyPolicy,
  session: ClientSession,
  snapbackDir: string | null,
): ApplyPolicy {
  if (session.snapback !== null && snapbackDir === null) {
    throw new UsageError('this receiver is locked down: it has no folder for --snapback');
  }
  return {
    ...policy,
    snapback: session.snapback === null ? null : join(snapbackDir ?? '', session.snapback),
    stopOnMismatch: policy.stopOnMismatch || session.stopOnMismatch,
    dryRun: policy.dryRun || session.dryRun,
  };
}
