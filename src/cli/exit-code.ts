import { constants } from 'node:os';
import { InterruptedError, LvmsyncError, type ErrorCode } from '../errors.js';

export const SUCCESS = 0;
const INTERNAL_FAULT = 1;
/** The status for a signal is its number plus this, as in a shell. */
const SIGNAL_BASE = 128;

/** The only table from errors to exit statuses; the man page (docs/lvmsync.8) explains each to users. */
const EXIT_CODES: Record<Exclude<ErrorCode, 'INTERRUPTED'>, number> = {
  USAGE: 2,
  UNSAFE_TARGET: 3,
  SNAPSHOT: 4,
  TRUNCATED: 5,
  FORMAT: 6,
  BASE_MISMATCH: 7,
  DEVICE: 8,
  TRANSPORT: 9,
  FAR_SIDE: 10,
  VERIFY_DIFFERS: 11,
  COMMAND: 12,
  LOCKED: 13,
};

/** The exit status for a class of error. */
export function exitStatusOf(code: ErrorCode): number {
  return code === 'INTERRUPTED' ? INTERNAL_FAULT : EXIT_CODES[code];
}

/** The exit status for anything that was thrown. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof InterruptedError) return SIGNAL_BASE + constants.signals[error.signal];
  if (error instanceof LvmsyncError && error.code !== 'INTERRUPTED') return EXIT_CODES[error.code];
  return INTERNAL_FAULT;
}
