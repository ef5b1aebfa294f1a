import { FormatError } from '../errors.js';
import { readNumber } from './frame-format.js';

/*
 * The byte layout of the marks that let a broken session continue (docs/stream-format.md):
 *
 *   C := u8[32] chain, token        R := token        K := nothing
 *   T := u64 changedBytes, u64 mismatches, u64 doubts, token
 *
 * A token is a place in a stream, in words that only its sender understands.
 */
/** Everything before it must be made durable. */
export const CHECKPOINT = 'C';
/** What an earlier session sent is not sent again. */
export const RESUME = 'R';
/** The sender is still there; optional. */
export const HEARTBEAT = 'K';
/** In a journal, optional: up to where the applied stream is durable. */
export const RESUME_POINT = 'T';

export const MAX_TOKEN_LENGTH = 1024;
const CHAIN_LENGTH = 32;
const COUNT_LENGTH = 8;
/** The length of a resume point before its token. Bytes. */
const COUNTS_LENGTH = 3 * COUNT_LENGTH;

/** @param chain the chain over all frames before this one */
export function encodeCheckpoint(chain: Uint8Array, token: Uint8Array): Buffer {
  return Buffer.concat([chain, token]);
}

/** Throws FormatError. */
export function parseCheckpoint(payload: Buffer, what: string, position: number) {
  const token = takeToken(payload, CHAIN_LENGTH, what, position);
  return { token, chain: payload.subarray(0, CHAIN_LENGTH) };
}

/** A place in an applied stream up to which all of it is on stable storage. Bytes. */
export interface ResumePoint {
  readonly token: Buffer;
  /** The sum of data, zeroes and discards up to here. */
  readonly changedBytes: number;
  /** Blocks up to here for which the target held neither the old nor the new bytes. */
  readonly mismatches: number;
  /** Blocks and sections up to here that did not bear out what the target is taken to have held. */
  readonly doubts: number;
}

export function encodeResumePoint({ token, changedBytes, mismatches, doubts }: ResumePoint): Buffer {
  const counts = Buffer.alloc(COUNTS_LENGTH);
  [changedBytes, mismatches, doubts].forEach((count, index) =>
    counts.writeBigUInt64BE(BigInt(count), index * COUNT_LENGTH),
  );
  return Buffer.concat([counts, token]);
}

/** Throws FormatError. */
export function parseResumePoint(payload: Buffer, what: string, position: number): ResumePoint {
  const token = takeToken(payload, COUNTS_LENGTH, what, position);
  const count = (index: number, field: string) =>
    readNumber(payload, index * COUNT_LENGTH, { what, position, field });
  return {
    token,
    changedBytes: count(0, 'changed bytes'),
    mismatches: count(1, 'mismatches'),
    doubts: count(2, 'doubts'),
  };
}

/** The token after a prefix of a payload. Throws FormatError if it is not a token. */
export function takeToken(payload: Buffer, prefixLength: number, what: string, position: number): Buffer {
  const token = payload.subarray(prefixLength);
  if (payload.length >= prefixLength && token.length <= MAX_TOKEN_LENGTH) return token;
  const problem = `${payload.length} bytes do not contain a token of at most ${MAX_TOKEN_LENGTH}`;
  throw new FormatError(what, position, 'token', problem);
}
