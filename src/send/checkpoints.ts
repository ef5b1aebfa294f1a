import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { endOf, sumLengths, type Extent } from '../bytes/extent.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { MAX_BLOCK_LENGTH } from '../stream/block.js';

const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const tokenSchema = v.object({ key: digest, chunks: count, offset: count, sent: count, check: digest });

/** What a stream is made of: equal contents make equal streams, as long as the bytes stay the same. */
export interface StreamContents {
  readonly source: ChangeSource;
  readonly changes: ChangeSet;
  /** The unit in which old and new bytes are compared; null: they are not compared. */
  readonly unit: number | null;
}

/** Where the rest of a stream begins, and the changes that it is part of. */
export interface StreamRest {
  readonly changes: ChangeSet;
  /** Bytes of the volume before this offset need not be sent again. */
  readonly offset: number;
  /** How many bytes in blocks were sent for them. */
  readonly sent: number;
}

/**
 * A token for the place at `offset`, where a block ends, in the first pass of a stream of `changes`.
 *
 * @param key `keyOf` that stream
 * @param sent how many bytes in blocks were sent up to there
 */
export function makeToken(key: string, changes: ChangeSet, offset: number, sent: number): Buffer {
  const place = { key, chunks: changes.chunks.count, offset, sent };
  return Buffer.from(JSON.stringify({ ...place, check: sha256(JSON.stringify(place)) }));
}

/**
 * A digest of everything that determines a stream: the old bytes, the new bytes and the extents. Equal keys mean equal
 * streams. Null: nothing proves that the bytes stay the same.
 */
export async function keyOf({ source, changes, unit }: StreamContents): Promise<string | null> {
  const proof = await source.watch.dataProof();
  const { base, result, scope, volumeSize: size } = source.facts;
  // A full copy starts from nothing.
  const hasBase = base !== null || scope === 'full';
  if (proof === null || !hasBase || result === null) return null;
  const { granularity, trackedSize, volumeSize } = changes;
  const made = { base, result, proof, unit, granularity, trackedSize, volumeSize, size };
  return sha256(`${JSON.stringify(made)} ${digestOf(changes.extents())}`);
}

/**
 * What is left to send after the place of a token; null: the token is not one of ours, or belongs to another stream
 * than this source has to send now. The token is not trusted: all of it is checked. Throws what reading the changes
 * throws.
 */
export async function findRest(stream: StreamContents, token: Buffer): Promise<StreamRest | null> {
  const place = parse(token);
  if (place === null) return null;
  const { key, chunks, offset, sent, check } = place;
  if (check !== sha256(JSON.stringify({ key, chunks, offset, sent }))) return null;
  const { source, changes: now } = stream;
  if (chunks > now.chunks.count) return null;
  // The table has grown since: its new entries did not change between the two states.
  const changes = chunks === now.chunks.count ? now : await source.watch.readChanges(chunks);
  if (changes.chunks.count !== chunks || key !== (await keyOf({ ...stream, changes }))) return null;
  const left = sumLengths(behind(changes.extents(), offset));
  if (sent > changes.changedBytes - left) return null;
  return endsBlock(changes, offset) ? { changes, offset, sent } : null;
}

/** The parts of ascending extents at or after an offset. */
export function* behind(extents: Iterable<Extent>, offset: number): Generator<Extent> {
  for (const extent of extents) {
    if (extent.offset >= offset) yield extent;
    else if (endOf(extent) > offset) yield { offset, length: endOf(extent) - offset };
  }
}

/** Whether a data block of the stream ends at an offset: blocks end where extents end, and at each MiB. */
function endsBlock(changes: ChangeSet, offset: number): boolean {
  for (const extent of changes.dataExtents()) {
    if (extent.offset >= offset) return false;
    if (endOf(extent) === offset) return true;
    if (endOf(extent) > offset) return offset % MAX_BLOCK_LENGTH === 0;
  }
  return false;
}

function parse(token: Buffer): v.InferOutput<typeof tokenSchema> | null {
  try {
    return v.parse(tokenSchema, JSON.parse(token.toString()));
  } catch {
    return null;
  }
}

/** Hashed in batches, because there can be millions of extents. */
function digestOf(extents: Iterable<Extent>): string {
  const hash = createHash('sha256');
  const batch = Buffer.alloc(64 * 1024);
  let used = 0;
  for (const { offset, length } of extents) {
    batch.writeDoubleBE(offset, used);
    batch.writeDoubleBE(length, used + 8);
    used += 16;
    if (used < batch.length) continue;
    hash.update(batch);
    used = 0;
  }
  return hash.update(batch.subarray(0, used)).digest('hex');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/**
 * A checkpoint makes the receiver's steps wait for each other, a few tenths of a second in all. One every 128 MiB would
 * cost a quarter of a fast local sync, so the interval is a time. After a broken line, at most about this much has to
 * be sent again. Milliseconds.
 */
const EVERY_MS = 5_000;

/** A line on which a receiver answers checkpoints. */
export interface CheckpointLine {
  /** Asks the receiver to make everything so far durable; a later session can continue at the token's place. */
  checkpoint(token: Buffer): Promise<void>;
  /** Whether the last checkpoint was answered. */
  readonly isAnswered: boolean;
}

/** Decides when a sender asks the receiver to make everything durable. */
export class Checkpoints {
  private lastAt: number;

  constructor(
    private readonly line: CheckpointLine,
    private readonly key: string,
    private readonly changes: ChangeSet,
    private readonly clock: () => number,
  ) {
    this.lastAt = clock();
  }

  /** Whether the next call of `afterBlock` makes one. A receiver with a slow disk gets no second one before its answer. */
  get isDue(): boolean {
    return this.clock() - this.lastAt >= EVERY_MS && this.line.isAnswered;
  }

  /** Notes that everything up to `offset` was sent: `sent` bytes in blocks. */
  async afterBlock(offset: number, sent: number): Promise<void> {
    if (!this.isDue) return;
    await this.line.checkpoint(makeToken(this.key, this.changes, offset, sent));
    this.lastAt = this.clock();
  }
}
