import type { ByteSink } from '../bytes/byte-channel.js';
import { encodeFrame, PROTOCOL_LINE } from '../stream/frame-format.js';
import type { SmallFrame } from '../stream/frame-reader.js';
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

/** Asks a far side for digests, several questions ahead; the answers come in the questions' order. */
export class Questioner {
  /** Digests that came in. */
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

  /** Resolves to the blocks' digests, one behind the other. Rejects where the question cannot be sent. */
  ask(query: Query, digest: DigestName): Promise<Buffer> {
    const question = this.number++;
    const blocks = query.extents.reduce((sum, extent) => sum + countBlocks(extent, query.blockLength), 0);
    const frame = encodeFrame(QUERY, digest === 'blake3' ? BY_BLAKE3 : 0, question, encodeQuery(query));
    // Not awaited: the far side reads the next question when it has answered this one.
    this.written = this.written.then(() => this.output.write(frame));
    const answer = new Promise<Buffer>((resolve, reject) => {
      this.asked.push({ question, blocks, resolve });
      this.written.catch(reject);
    });
    // Heard by whoever awaits it, which an earlier one's failure may prevent.
    answer.catch(() => undefined);
    return answer;
  }

  /** Takes a reply that answers a question. Throws FormatError where it does not fit. */
  readonly take = ({ header, payload, position }: SmallFrame): boolean => {
    const next = this.asked[0];
    if (header.type !== DIGESTS || next === undefined) return false;
    const digests = parseDigests(payload, next, `answer from ${this.host}`, position);
    this.asked.shift();
    this.answeredBlocks += next.blocks;
    next.resolve(digests);
    return true;
  };

  /** Says that nothing more is asked. */
  async end(): Promise<void> {
    await this.written;
    await this.output.end();
  }
}
