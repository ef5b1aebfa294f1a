import type { Extent } from '../bytes/extent.js';
import { FormatError } from '../errors.js';
import { encodeRange, parseRange, RANGE_LENGTH } from './frame-format.js';

/*
 * The byte layout of a verify's questions and answers (docs/stream-format.md, "Read-only session"):
 *
 *   Q := u32 blockLength, then 1 to 4,096 times (u64 offset, u64 length)
 *   d := u64 number of the question's frame, u8[32] digest of each block
 */
export const QUERY = 'Q';
/** The flag of a question that asks for BLAKE3 digests; without it, SHA-256. */
export const BY_BLAKE3 = 2;
export const DIGESTS = 'd';
export const DIGEST_LENGTH = 32;
/** The most extents in a query, and the most blocks that they give. */
export const MAX_QUERY_EXTENTS = 4096;
export const MAX_QUERY_BLOCKS = 4096;
const MIN_BLOCK_LENGTH = 512;
const MAX_BLOCK_LENGTH = 1024 * 1024;

/**
 * Asks for the digests of extents, each cut at multiples of `blockLength` bytes of the volume. `blockLength` is a
 * power of two from 512 to 1 MiB.
 */
export interface Query {
  readonly blockLength: number;
  readonly extents: readonly Extent[];
}

export function encodeQuery({ blockLength, extents }: Query): Buffer {
  const head = Buffer.allocUnsafe(4);
  head.writeUInt32BE(blockLength, 0);
  return Buffer.concat([head, ...extents.map(({ offset, length }) => encodeRange(offset, length))]);
}

/** Throws FormatError for a query that breaks a limit, or reaches past `size` bytes. */
export function parseQuery(payload: Buffer, size: number, what: string, position: number): Query {
  const fail = (problem: string): never => {
    throw new FormatError(what, position, 'query', problem);
  };
  const count = (payload.length - 4) / RANGE_LENGTH;
  if (!Number.isInteger(count) || count < 1 || count > MAX_QUERY_EXTENTS)
    fail(`${payload.length} bytes are not a query`);
  const blockLength = payload.readUInt32BE(0);
  const isPower = (blockLength & (blockLength - 1)) === 0;
  if (!isPower || blockLength < MIN_BLOCK_LENGTH || blockLength > MAX_BLOCK_LENGTH) {
    fail(`blocks of ${blockLength} bytes`);
  }
  const extents = Array.from({ length: count }, (_, index) => {
    const at = 4 + index * RANGE_LENGTH;
    return parseRange(payload.subarray(at, at + RANGE_LENGTH), what, position);
  });
  for (const { offset, length } of extents) {
    if (length < 1) fail('an empty extent');
    if (length > size || offset > size - length) fail('an extent past the end of the target');
  }
  const blocks = extents.reduce((sum, extent) => sum + countBlocks(extent, blockLength), 0);
  if (blocks > MAX_QUERY_BLOCKS) fail(`${blocks} blocks are more than ${MAX_QUERY_BLOCKS}`);
  return { blockLength, extents };
}

/** How many blocks an extent touches. */
export function countBlocks({ offset, length }: Extent, blockLength: number): number {
  return Math.ceil((offset + length) / blockLength) - Math.floor(offset / blockLength);
}

export function encodeDigests(question: number, digests: Uint8Array): Buffer {
  const head = Buffer.allocUnsafe(8);
  head.writeBigUInt64BE(BigInt(question), 0);
  return Buffer.concat([head, digests]);
}

/** The digests, one after another. Throws FormatError unless they answer `question`, with the expected number. */
export function parseDigests(
  payload: Buffer,
  { question, blocks }: { readonly question: number; readonly blocks: number },
  what: string,
  position: number,
): Buffer {
  if (payload.length !== 8 + blocks * DIGEST_LENGTH) {
    throw new FormatError(what, position, 'digests', `${payload.length} bytes for ${blocks} blocks`);
  }
  if (payload.readBigUInt64BE(0) !== BigInt(question)) {
    throw new FormatError(
      what,
      position,
      'digests',
      `they do not answer question ${question}, which is next`,
    );
  }
  return payload.subarray(8);
}
