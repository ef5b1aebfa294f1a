/**
 * What went wrong, by class. `cli/exit-code.ts` holds the only table from these codes to exit statuses.
 */
export type ErrorCode =
  | 'USAGE'
  | 'UNSAFE_TARGET'
  | 'SNAPSHOT'
  | 'TRUNCATED'
  | 'FORMAT'
  | 'BASE_MISMATCH'
  | 'DEVICE'
  | 'TRANSPORT'
  | 'FAR_SIDE'
  | 'VERIFY_DIFFERS'
  | 'COMMAND'
  | 'LOCKED'
  | 'INTERRUPTED';

/** The base of every error that lvmsync's library code throws on foreign input. */
export abstract class LvmsyncError extends Error {
  abstract readonly code: ErrorCode;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The command line is wrong: an argument is missing or invalid, or options cannot be combined. */
export class UsageError extends LvmsyncError {
  readonly code = 'USAGE';
}

/** The target must not be written: too small, in use, no block device and no file. */
export class UnsafeTargetError extends LvmsyncError {
  readonly code = 'UNSAFE_TARGET';

  constructor(
    readonly path: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`${path}: ${reason}`, options);
  }
}

/** The snapshot is invalid, overflowed, merging, or not a snapshot at all. */
export class SnapshotError extends LvmsyncError {
  readonly code = 'SNAPSHOT';

  constructor(
    readonly snapshot: string,
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(`${snapshot}: ${reason}`, options);
  }
}

/** There is no snapshot to look at: the name does not exist, is not active, or is not a snapshot. */
export class NoSnapshotError extends SnapshotError {}

/** A stream ended before its end frame. `stream` names it; `offset` counts bytes from its start. */
export class TruncatedStreamError extends LvmsyncError {
  readonly code = 'TRUNCATED';

  constructor(
    readonly stream: string,
    readonly offset: number,
    problem: string,
  ) {
    super(`${stream}: cut short at byte ${offset}: ${problem}`);
  }
}

/** Bytes that break their format. `what` names the file, device or stream; `offset` is in bytes. */
export class FormatError extends LvmsyncError {
  readonly code = 'FORMAT';

  constructor(
    readonly what: string,
    readonly offset: number,
    readonly field: string,
    problem: string,
  ) {
    super(`${what}: ${field} at byte ${offset}: ${problem}`);
  }
}

/**
 * The journal that would take a target back is missing or damaged: only a full copy repairs the target. `offset` in
 * bytes.
 */
export class LostJournalError extends FormatError {
  constructor(path: string, offset: number, problem: string) {
    const wayOut =
      'the target cannot be recovered, and may be half-written: copy the whole volume ("lvmsync copy")';
    super(path, offset, 'journal', `${problem}. Without its journal ${wayOut}`);
  }
}

/** The target does not hold the base of the stream. `offset` in bytes; null: the target as a whole. */
export class BaseMismatchError extends LvmsyncError {
  readonly code = 'BASE_MISMATCH';

  constructor(
    readonly path: string,
    readonly offset: number | null,
    problem: string,
  ) {
    super(offset === null ? `${path}: ${problem}` : `${path}: at byte ${offset}: ${problem}`);
  }
}

/** A device or an image file failed a system call. `offset` in bytes; null: the call has no offset. */
export class DeviceError extends LvmsyncError {
  readonly code = 'DEVICE';

  constructor(
    readonly path: string,
    readonly operation: 'open' | 'read' | 'write' | 'flush' | 'close' | 'stat' | 'lock',
    readonly offset: number | null,
    cause: unknown,
  ) {
    const at = offset === null ? '' : ` at byte ${offset}`;
    super(`${path}: ${operation}${at} failed: ${describeCause(cause)}`, { cause });
  }
}

/** The line to the far side failed, or the far side ended without its report. */
export class TransportError extends LvmsyncError {
  readonly code = 'TRANSPORT';
}

/** Only the line broke. Both sides are well, as far as is known, so another line may work. */
export class LineError extends TransportError {}

/** There is no lvmsync on the far side, or it is too old to talk to. */
export class FarSideError extends LvmsyncError {
  readonly code = 'FAR_SIDE';
}

/** A verify found that the two sides differ. */
export class VerifyDiffersError extends LvmsyncError {
  readonly code = 'VERIFY_DIFFERS';
}

/**
 * Everything that was sent is written, but the target held bytes that someone else wrote: the rest of it is in doubt.
 */
export class SuspectTargetError extends LvmsyncError {
  readonly code = 'VERIFY_DIFFERS';

  constructor(
    readonly path: string,
    reason: string,
  ) {
    const rest = 'everything that was sent is correct on the target, but the rest of it may be wrong';
    super(`${path}: ${reason}; ${rest}: "lvmsync --scan" compares the whole volume and sends what differs`);
  }
}

/** How a command ended. */
export interface CommandOutcome extends ErrorOptions {
  /** Its exit status. Null by default: it did not run to its end. */
  readonly status?: number | null;
  /** What it printed that explains the failure. */
  readonly stderr?: string;
  /** Whether it did not run at all: it is not installed, or this user has no permission to run it. */
  readonly mayNotAsk?: boolean;
}

/** A command on this host failed, is missing, or must not be run by this user. */
export class CommandError extends LvmsyncError {
  readonly code = 'COMMAND';
  readonly status: number | null;
  readonly stderr: string;
  readonly mayNotAsk: boolean;

  constructor(
    readonly argv: readonly string[],
    problem: string,
    outcome: CommandOutcome = {},
  ) {
    const { status = null, stderr = '', mayNotAsk = false } = outcome;
    const said = stderr.trim() === '' ? '' : `: ${stderr.trim().split('\n').slice(-3).join('; ')}`;
    super(`${argv.join(' ')}: ${problem}${said}`, outcome);
    this.status = status;
    this.stderr = stderr;
    this.mayNotAsk = mayNotAsk;
  }
}

/** Another run has the target, or the thin pool that it reads. */
export class LockedError extends LvmsyncError {
  readonly code = 'LOCKED';

  /** @param subject what is locked, `holder` who has the lock, `wayOut` what to do: all in words */
  constructor(
    readonly subject: string,
    readonly holder: string,
    wayOut: string,
  ) {
    super(`${subject} is locked by ${holder}: ${wayOut}`);
  }
}

/** A signal or an abort ended the run. */
export class InterruptedError extends LvmsyncError {
  readonly code = 'INTERRUPTED';

  constructor(readonly signal: NodeJS.Signals) {
    super(`stopped by ${signal}`);
  }
}

/** The receiver refused or failed. `code` is the class that it reported, so both sides have the same exit status. */
export class FarError extends LvmsyncError {
  constructor(
    readonly code: ErrorCode,
    readonly host: string,
    message: string,
  ) {
    super(`${host}: ${message}`);
  }
}

/** The reason in anything that was thrown, in plain words; of Node's system errors, the name and text of the errno. */
export function describeCause(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  // Node writes "EIO: i/o error, read". The caller's message names the system call already.
  return cause.message.replace(/^(E[A-Z0-9]+: [^,]+),.*$/s, '$1');
}

/** Whether a system call failed with this errno, such as `EBUSY`. */
export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
