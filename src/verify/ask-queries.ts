import type { ByteSink } from '../bytes/byte-channel.js';
import { encodeFrame, PROTOCOL_LINE } from '../stream/frame-format.js';
import type { SmallFrame } from '../stream/frames/frame-reader.js';
import {
  BY_BLAKE3,
  countBlocks,
  DIGESTS,
  encodeQuery,
  parseDigests,
  QUERY,
  type Query,
} from '../stream/query-format.js';
import type { DigestName } from './digest.js';

interface Asked {
  readonly question: number;
  readonly blocks: number;
  readonly resolve: (digests: Buffer) => void;
}

/** Asks a far side for digests, several questions ahead. The answers come in the order of the questions. */
export class Questioner {
  /** How many digests came in. */
  answeredBlocks = 0;
  private number = 0;
  private readonly asked: Asked[] = [];
  private written: Promise<void>;

  constructor(
    private readonly output: ByteSink,
    private readonly host: string,
  ) {
    this.written = output.write(Buffer.from(PROTOCOL_LINE));
    this.written.catch(() => undefined);
  }

  /** Resolves to the digests of the blocks, one after another. Rejects if the question cannot be sent. */
  ask(query: Query, digest: DigestName): Promise<Buffer> {
    const question = this.number++;
    const blocks = query.extents.reduce((sum, extent) => sum + countBlocks(extent, query.blockLength), 0);
    const frame = encodeFrame(QUERY, digest === 'blake3' ? BY_BLAKE3 : 0, question, encodeQuery(query));
    // Not awaited, because the far side reads the next question only after it has answered this one.
    this.written = this.written.then(() => this.output.write(frame));
    const answer = new Promise<Buffer>((resolve, reject) => {
      this.asked.push({ question, blocks, resolve });
      this.written.catch(reject);
    });
    // The caller awaits it, unless an earlier answer fails: then it must not be an unhandled rejection.
    answer.catch(() => undefined);
    return answer;
  }

  /**
   * Accepts a reply that answers a question; false: another reply. Throws FormatError if it does not fit the question.
   */
  readonly take = ({ header, payload, position }: SmallFrame): boolean => {
    const next = this.asked[0];
    if (header.type !== DIGESTS || next === undefined) return false;
    const digests = parseDigests(payload, next, `answer from ${this.host}`, position);
    this.asked.shift();
    this.answeredBlocks += next.blocks;
    next.resolve(digests);
    return true;
  };

  /** Tells the far side that there are no more questions. */
  async end(): Promise<void> {
    await this.written;
    await this.output.end();
  }
}
