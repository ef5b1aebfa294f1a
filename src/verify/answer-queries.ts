import type { LendBuffer } from '../bytes/byte-channel.js';
import type { BlockDevice } from '../device/block-device.js';
import { FormatError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { VERIFY_MEMORY } from '../memory/budgets.js';
import type { ReceiverLine } from '../session/receiver.js';
import { failureOf, ReplyWriter } from '../session/reply-writer.js';
import { ByteReader } from '../stream/frames/byte-reader.js';
import { FrameReader } from '../stream/frames/frame-reader.js';
import { readProtocolLine } from '../stream/incoming-stream.js';
import {
  BY_BLAKE3,
  DIGEST_LENGTH,
  DIGESTS,
  encodeDigests,
  parseQuery,
  QUERY,
  type Query,
} from '../stream/query-format.js';
import type { AllowedTargets } from '../targets/allowed-targets.js';
import { openReadOnly } from '../targets/open-target.js';
import { BlockDigester } from './digest-blocks.js';
import { listFastDigests, loadDigest, type TakeDigest } from './digest.js';

const WHAT = 'questions from the other side';

/** How a read-only session ended, and whether the other side was told. */
export interface AnswerOutcome {
  readonly error: Error | null;
  readonly told: boolean;
}

/**
 * The far side of a read-only session: answers questions about its target's blocks, and refuses everything else. Never
 * throws: the outcome says how to end.
 */
export async function answerQueries(
  line: ReceiverLine,
  openTarget: () => Promise<BlockDevice>,
  env: Surroundings,
  lend: LendBuffer,
): Promise<AnswerOutcome> {
  const replies = new ReplyWriter(line.output);
  let target: BlockDevice | null = null;
  try {
    target = await openTarget();
    const blocks = await answerAll(
      new ByteReader(line.input, WHAT),
      new BlockDigester(target, lend),
      replies,
      env.version,
    );
    return { error: null, told: await replies.result({ ok: true, blocks, mismatches: 0 }) };
  } catch (error) {
    const told = await replies.result(failureOf(error));
    return { error: error instanceof Error ? error : new Error(String(error)), told };
  } finally {
    await target?.close();
  }
}

/** Answers until there are no more questions; returns the number of digests. */
async function answerAll(
  reader: ByteReader,
  digester: BlockDigester,
  replies: ReplyWriter,
  version: string,
): Promise<number> {
  const { device: target, lend } = digester;
  if ((await readProtocolLine(reader, WHAT)) !== 4) {
    throw new FormatError(WHAT, 0, 'protocol', 'questions need PROTO[4]');
  }
  await target.refresh();
  const digests = await listFastDigests();
  await replies.hello({ version, targetSize: target.size, holds: null, stale: false, digests });
  const frames = new FrameReader(reader, WHAT);
  let blocks = 0;
  while (!(await reader.atEnd())) {
    const { number, query, takeDigest } = await nextQuery(frames, target.size, lend);
    const taken = await digester.digest(query, takeDigest);
    blocks += taken.length / DIGEST_LENGTH;
    await replies.frame(DIGESTS, encodeDigests(number, taken));
  }
  return blocks;
}

async function nextQuery(
  frames: FrameReader,
  size: number,
  lend: LendBuffer,
): Promise<{ readonly number: number; readonly query: Query; readonly takeDigest: TakeDigest }> {
  const frame = await frames.next(lend);
  if ('data' in frame) frame.data.release();
  else if (frame.header.type === QUERY && (frame.header.flags & ~BY_BLAKE3) === 0) {
    const query = parseQuery(frame.payload, size, WHAT, frame.position);
    const takeDigest = await loadDigest(frame.header.flags === BY_BLAKE3 ? 'blake3' : 'sha256');
    if (takeDigest !== null) return { number: frame.header.number, query, takeDigest };
    throw new FormatError(
      WHAT,
      frame.position,
      'question',
      'it asks for digests that this host cannot compute',
    );
  }
  throw new FormatError(
    WHAT,
    frame.position,
    'frame',
    'not a question, and a read-only session accepts nothing else',
  );
}

/** Is the far side of a verify, for a device or file of this host that is only read; with `allowed`, one of those. */
export function answer(
  line: ReceiverLine,
  path: string,
  env: Surroundings,
  allowed: AllowedTargets | null = null,
): Promise<AnswerOutcome> {
  const open = () => openReadOnly(path, allowed, env);
  return answerQueries(line, open, env, new BufferPool(VERIFY_MEMORY).lend);
}
