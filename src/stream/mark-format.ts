import { FormatError } from '../errors.js';
import { encodeRange, parseRange, RANGE_LENGTH } from './frame-format.js';

/*
 * The byte layout of the marks by which a session is taken up where it broke (docs/stream-format.md):
 *
 *   C := u8[32] chain, token        R := token        K := nothing
 *   T := u64 changedBytes, u64 mismatches, token
 *
 * A token is a place in a stream, in words that only its sender understands.
 */
/** All before it shall be made durable. */
export const CHECKPOINT = 'C';
/** What an earlier session brought is not sent again. */
export const RESUME = 'R';
/** The sender is still there; optional. */
export const HEARTBEAT = 'K';
/** In a journal, optional: up to where the applied stream is durable. */
export const RESUME_POINT = 'T';

export const MAX_TOKEN_LENGTH = 1024;
const CHAIN_LENGTH = 32;

/** @param chain that over all frames before this one */
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
  /** What came as data, zeroes or discards up to here. */
  readonly changedBytes: number;
  /** Blocks up to here that the target held neither old nor new. */
  readonly mismatches: number;
}

export function encodeResumePoint({ token, changedBytes, mismatches }: ResumePoint): Buffer {
  return Buffer.concat([encodeRange(changedBytes, mismatches), token]);
}

/** Throws FormatError. */
export function parseResumePoint(payload: Buffer, what: string, position: number): ResumePoint {
  const token = takeToken(payload, RANGE_LENGTH, what, position);
  const { offset: changedBytes, length: mismatches } = parseRange(payload, what, position);
  return { token, changedBytes, mismatches };
}

/** What follows so many bytes of a payload. Throws FormatError where that is no token. */
export function takeToken(payload: Buffer, prefixLength: number, what: string, position: number): Buffer {
  const token = payload.subarray(prefixLength);
  if (payload.length >= prefixLength && token.length <= MAX_TOKEN_LENGTH) return token;
  const problem = `${payload.length} bytes hold no token of at most ${MAX_TOKEN_LENGTH}`;
  throw new FormatError(what, position, 'token', problem);
}
