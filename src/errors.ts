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

/** The words of the command line make no sense together. */
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

/** There is no snapshot to look at: nothing of that name, nothing active, or something else. */
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

/** Bytes that are not what their format says. `what` names the file, device or stream; `offset` is in bytes. */
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

/** What would take a target back is gone or damaged: nothing but a full copy makes it whole. `offset` in bytes. */
export class LostJournalError extends FormatError {
  constructor(path: string, offset: number, problem: string) {
    const wayOut = 'the target cannot be recovered, and may be half-written: copy the whole volume ("lvmsync copy")';
    super(path, offset, 'journal', `${problem}. Without its journal ${wayOut}`);
  }
}

/** The target is not in the state that the stream starts from. `offset` in bytes, null of the whole target. */
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

/** A device or an image file failed a system call. `offset` in bytes, or null where none applies. */
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

/** The line itself broke, with all well at both its ends as far as is known: another one may hold. */
export class LineError extends TransportError {}

/** The far side runs no lvmsync, or one too old to talk to. */
export class FarSideError extends LvmsyncError {
  readonly code = 'FAR_SIDE';
}

/** A verify found that the two sides differ. */
export class VerifyDiffersError extends LvmsyncError {
  readonly code = 'VERIFY_DIFFERS';
}

/** All that was sent is written, but bytes were found that someone else wrote: the rest of the target is in doubt. */
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

/** A command of this host failed, is missing, or may not be run. */
export class CommandError extends LvmsyncError {
  readonly code = 'COMMAND';
  /** Whether it could not even be asked: it is not installed, or this user has no right to. */
  readonly mayNotAsk: boolean;

  constructor(
    readonly argv: readonly string[],
    readonly status: number | null,
    readonly stderr: string,
    problem: string,
    options: ErrorOptions & { readonly mayNotAsk?: boolean } = {},
  ) {
    const said = stderr.trim() === '' ? '' : `: ${stderr.trim().split('\n').slice(-3).join('; ')}`;
    super(`${argv.join(' ')}: ${problem}${said}`, options);
    this.mayNotAsk = options.mayNotAsk ?? false;
  }
}

/** Another run works on the same target, or reads the same thin pool. */
export class LockedError extends LvmsyncError {
  readonly code = 'LOCKED';

  /** @param subject what is locked; `holder` by whom; `wayOut` what to do: all in words */
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

/** The receiver refused or failed; `code` is the class that it reported, so both sides exit alike. */
export class FarError extends LvmsyncError {
  constructor(
    readonly code: ErrorCode,
    readonly host: string,
    message: string,
  ) {
    super(`${host}: ${message}`);
  }
}

/** The plain reason in anything that was thrown; for Node's system errors the errno's name and text. */
export function describeCause(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  // Node writes "EIO: i/o error, read": the call is already named by whoever wraps it.
  return cause.message.replace(/^(E[A-Z0-9]+: [^,]+),.*$/s, '$1');
}

/** Whether a system call failed with this errno, such as `EBUSY`. */
export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
