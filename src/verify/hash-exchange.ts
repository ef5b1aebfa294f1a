import { countOf } from '../bytes/amounts.js';
import { ChunkSet } from '../bytes/chunk-set.js';
import { intersectExtents, splitExtents, sumLengths, type Extent } from '../bytes/extent.js';
import { ChangeSet } from '../changes/change-set.js';
import type { BlockDevice } from '../device/block-device.js';
import { FarError, TransportError } from '../errors.js';
import type { Progress, Surroundings } from '../host/surroundings.js';
import type { ResultMessage } from '../session/messages.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { VERIFY_MEMORY } from '../memory/budgets.js';
import { readReplies } from '../session/replies.js';
import { SESSION_LIMITS, explainFailure, unlessAnswered, within, type FarSide } from '../session/sender.js';
import {
  countBlocks,
  DIGEST_LENGTH,
  MAX_QUERY_BLOCKS,
  MAX_QUERY_EXTENTS,
  type Query,
} from '../stream/query-format.js';
import { Questioner } from './ask-queries.js';
import { BlockDigester } from './digest-blocks.js';
import { chooseDigest, loadDigest, type Digest } from './digest.js';

/**
 * The block size of the first comparison, so that few digests are sent. Blocks that differ are compared again in
 * smaller blocks. Bytes.
 */
const COARSE = 256 * 1024;
/**
 * The block size between COARSE and the unit, because the digest of a small block costs nearly as much as that of a
 * large one. Bytes.
 */
const FINER = 32 * 1024;
/** A question covers at most this many bytes; QUESTIONS_AHEAD questions are open at once. */
const QUERY_BYTES = 256 * 1024 * 1024;
const QUESTIONS_AHEAD = 3;

/** What to compare with the far side. */
export interface ComparisonRequest {
  readonly near: BlockDevice;
  /** Ascending; the same for each call. */
  readonly extents: () => Iterable<Extent>;
  /** The unit in which differences are reported: a power of two from 512 bytes to 256 KiB. */
  readonly unit: number;
  /** Called with the far side's size before anything is read; may throw. */
  readonly checkFarSize: (size: number) => void;
}

/** What a comparison found. */
export interface ComparisonResult {
  readonly comparedBytes: number;
  /** The units that differ. */
  readonly differing: ChangeSet;
}

/**
 * Compares a device with the one on the far side: both sides hash at the same time, and only digests are sent.
 *
 * Throws FarError if the far side refused or failed, FarSideError if there is no lvmsync, TransportError if the line
 * broke; DeviceError for the near device. When it returns or throws, the far side has ended or is cut off.
 */
export async function runHashExchange(
  far: FarSide,
  comparison: ComparisonRequest,
  env: Surroundings,
): Promise<ComparisonResult> {
  const { transport, limits = SESSION_LIMITS } = far;
  const questioner = new Questioner(transport.output, transport.host);
  const replies = readReplies(transport.input, transport.host, questioner.take);
  try {
    // Loads while the far side starts.
    const blake3 = await loadDigest('blake3');
    const { targetSize, digests } = await replies.waitForHello(limits.helloMs);
    comparison.checkFarSize(targetSize);
    const digest = chooseDigest(blake3, digests);
    const { lend } = new BufferPool(VERIFY_MEMORY);
    const near = new BlockDigester(comparison.near, lend, (read) => {
      env.progress.advance(read);
    });
    const exchange = new HashExchange(near, questioner, digest, env.progress);
    const result = await unlessAnswered(narrowDown(exchange, comparison), replies);
    await questioner.end();
    checkResult(await replies.result, questioner.answeredBlocks, transport.host);
    // The far side may still print something to stderr. That does not change the result.
    await within(limits.farewellMs, transport.exit);
    return result;
  } catch (error) {
    throw await explainFailure(error, far, replies);
  } finally {
    env.progress.stop();
    await transport.destroy();
  }
}

/** Finds the large blocks that differ, then the units that differ in those. */
async function narrowDown(
  exchange: HashExchange,
  { extents, unit }: ComparisonRequest,
): Promise<ComparisonResult> {
  const comparedBytes = sumLengths(extents());
  let differing = await exchange.compare(extents, COARSE);
  for (const blockLength of unit < FINER ? [FINER, unit] : [unit]) {
    const suspects = differing;
    differing = await exchange.compare(() => intersectExtents(extents(), suspects.extents()), blockLength);
  }
  return { comparedBytes, differing };
}

class HashExchange {
  constructor(
    private readonly near: BlockDigester,
    private readonly questioner: Questioner,
    private readonly digest: Digest,
    private readonly progress: Progress,
  ) {}

  /** Finds the blocks that differ. */
  async compare(extents: () => Iterable<Extent>, blockLength: number): Promise<ChangeSet> {
    const bytes = sumLengths(extents());
    if (bytes > 0) this.progress.start(bytes);
    const differing = new ChunkSet();
    const queries = cutQueries(extents(), blockLength);
    const ahead: { query: Query; answer: Promise<Buffer> }[] = [];
    for (;;) {
      while (ahead.length < QUESTIONS_AHEAD) {
        const next = queries.next();
        if (next.done === true) break;
        ahead.push({ query: next.value, answer: this.questioner.ask(next.value, this.digest.name) });
      }
      const first = ahead.shift();
      if (first === undefined) break;
      const near = this.near.digest(first.query, this.digest.take);
      noteDifferences(first.query, ...(await Promise.all([near, first.answer])), differing);
    }
    this.progress.stop();
    const { size } = this.near.device;
    return new ChangeSet({ granularity: blockLength, trackedSize: size, volumeSize: size }, differing);
  }
}

/** Groups extents into questions, within the limits of a question. */
function* cutQueries(extents: Iterable<Extent>, blockLength: number): Generator<Query> {
  const mostBlocks = Math.min(MAX_QUERY_BLOCKS, QUERY_BYTES / blockLength);
  let open: Extent[] = [];
  let blocks = 0;
  for (const piece of splitExtents(extents, mostBlocks * blockLength)) {
    const more = countBlocks(piece, blockLength);
    if (open.length === MAX_QUERY_EXTENTS || (open.length > 0 && blocks + more > mostBlocks)) {
      yield { blockLength, extents: open };
      open = [];
      blocks = 0;
    }
    open.push(piece);
    blocks += more;
  }
  if (open.length > 0) yield { blockLength, extents: open };
}

function noteDifferences(
  { extents, blockLength }: Query,
  near: Buffer,
  far: Buffer,
  differing: ChunkSet,
): void {
  let at = 0;
  for (const { offset } of splitExtents(extents, blockLength)) {
    const isSame = near.compare(far, at, at + DIGEST_LENGTH, at, at + DIGEST_LENGTH) === 0;
    if (!isSame) differing.add(Math.floor(offset / blockLength));
    at += DIGEST_LENGTH;
  }
}

function checkResult(result: ResultMessage, answered: number, host: string): void {
  if (!result.ok) throw new FarError(result.code, host, result.message);
  if (result.blocks !== answered) {
    throw new TransportError(
      `${host}: it reports ${countOf(result.blocks, 'digest')}, but ${answered} were received`,
    );
  }
}
