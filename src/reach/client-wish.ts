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
 * Reads a client's command, which sshd passes on as one string; it is never run. Throws CommandError if it is not a
 * command that lvmsync sends.
 */
export function readClientCommand(command: string | null): ClientWish {
  if (command === null || command === '') {
    throw refusal(
      'the connection came without a command: this key is only for an lvmsync that sends to this host ' +
        '(with sudo, sudoers must keep SSH_ORIGINAL_COMMAND)',
    );
  }
  const words = wordsOf(command);
  const [first, ...more] = words ?? [];
  if (first === 'receive') return { kind: 'receive', words: more };
  if (words?.join(' ') === 'doctor --answer') return { kind: 'doctor' };
  if (words?.join(' ') === '--version') return { kind: 'version' };
  throw refusal(
    'this key is only for an lvmsync of version 4 that sends to this host; other commands are refused',
  );
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
  return new CommandError(['lvmsync receive --restrict'], problem);
}

/** The part of a session that a locked-down receiver lets a client choose. */
export interface ClientSession {
  readonly target: string;
  /** A plain file name. */
  readonly snapback: string | null;
  readonly stopOnMismatch: boolean;
  readonly dryRun: boolean;
  readonly readOnly: boolean;
}

/**
 * Reads the words after `receive`: options, with their values as separate words; `--`; the target. A client may only
 * ask for less, or for more caution; the administrator decides everything else. Throws UsageError.
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
          `this receiver is locked down: its clients cannot use ${word ?? 'a command without -- TARGET'}`,
        );
    }
  }
  const [target, ...more] = left;
  if (target === undefined || target === '' || more.length > 0) {
    throw new UsageError('this receiver is locked down: expected one target after the options and --');
  }
  if (given.readOnly && snapback !== null) throw new UsageError('--snapback cannot be used with --read-only');
  return { target, snapback, ...given };
}

function readAction(word: string | undefined): boolean {
  if (word === 'stop' || word === 'resend') return word === 'stop';
  throw new UsageError('--on-base-mismatch: expected resend or stop');
}

/** Reads a plain file name: not a directory, not hidden, not the name of a journal in progress. */
function readFileName(word: string | undefined): string {
  const name = word ?? '';
  if (/^[A-Za-z0-9_+@%,:][A-Za-z0-9_+@%,:.-]{0,199}$/.test(name) && !name.endsWith('.partial')) return name;
  throw new UsageError(
    'this receiver is locked down: --snapback must be a plain file name of letters, digits and _+@%,:.-',
  );
}

/**
 * The administrator's policy with what a client adds to it. The client's snapback goes into `snapbackDir`. Throws
 * UsageError if the client asks for a snapback and there is no such folder.
 */
export function combinePolicy(
  policy: ApplyPolicy,
  session: ClientSession,
  snapbackDir: string | null,
): ApplyPolicy {
  if (session.snapback !== null && snapbackDir === null) {
    throw new UsageError('this receiver is locked down: it has no directory for --snapback');
  }
  return {
    ...policy,
    snapback: session.snapback === null ? null : join(snapbackDir ?? '', session.snapback),
    stopOnMismatch: policy.stopOnMismatch || session.stopOnMismatch,
    dryRun: policy.dryRun || session.dryRun,
  };
}
