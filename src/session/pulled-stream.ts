import type { ByteSource } from '../bytes/byte-channel.js';
import { FormatError, TransportError } from '../errors.js';
import { ByteReader } from '../stream/frames/byte-reader.js';
import { END, lengthAfter, PROTOCOL_LINE, type FrameHeader } from '../stream/frame-format.js';
import { readHead, readPayload, type FrameHead } from '../stream/frames/frame-reader.js';
import { parseLastWord, RESULT, type LastWord } from './messages.js';
import { readFarProtocol } from './replies.js';

/** The most that a last word can have: they are short. Bytes. */
const MAX_WORD_LENGTH = 64 * 1024;

/**
 * Splits what comes from a sender that this side started into the stream for the receiver, and the sender's last word.
 * The frames of the stream are passed on without a check, for the receiver to check.
 */
export class PulledStream {
  /** The stream alone. It ends after its end frame, or early if the sender gave up. Can be read once. */
  readonly stream: AsyncGenerator<Uint8Array, undefined>;
  private readonly reader: ByteReader;
  private readonly what: string;
  private word: LastWord | null = null;

  /** @param firstWordMs how long the sender may take until its first word */
  constructor(
    input: ByteSource,
    private readonly host: string,
    private readonly firstWordMs: number,
  ) {
    this.what = `stream from ${host}`;
    this.reader = new ByteReader(input, this.what);
    this.stream = this.passOn();
  }

  /** How many bytes came in. */
  get bytesReceived(): number {
    return this.reader.offset;
  }

  /**
   * The sender's last word; null: the line ended without one. First reads and drops the rest of the stream, because a
   * sender that cannot write does not read either. Throws FormatError if anything else follows the stream, and what the
   * line throws.
   */
  async lastWord(): Promise<LastWord | null> {
    for (let left = await this.stream.next(); left.done !== true;) left = await this.stream.next();
    if (this.word === null && !(await this.reader.atEnd())) {
      const word = await readHead(this.reader, this.what);
      if (!isWord(word.header)) this.fail('end', 'unexpected data after the end frame');
      this.word = await this.readWord(word);
    }
    if (!(await this.reader.atEnd())) this.fail('end', 'unexpected data after the last word');
    return this.word;
  }

  private async *passOn(): AsyncGenerator<Uint8Array, undefined> {
    await this.waitForFirstWord();
    if ((await readFarProtocol(this.reader, this.what, this.host)) !== 4)
      this.fail('protocol', 'only PROTO[4] can be pulled');
    yield Buffer.from(PROTOCOL_LINE);
    while (!(await this.reader.atEnd())) {
      const frame = await readHead(this.reader, this.what);
      const { header } = frame;
      if (isWord(header)) {
        this.word = await this.readWord(frame);
        return;
      }
      yield frame.head;
      for (let left = lengthAfter(header); left > 0;) {
        const some = await this.reader.readSome(left);
        // The receiver detects that the frame is cut.
        if (some.length === 0) return;
        yield some;
        left -= some.length;
      }
      if (header.type === END) return;
    }
  }

  private async waitForFirstWord(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        const seconds = Math.round(this.firstWordMs / 1000);
        reject(new TransportError(`${this.host}: no answer from the far side's lvmsync within ${seconds} s`));
      }, this.firstWordMs);
    });
    try {
      await Promise.race([this.reader.atEnd(), timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  private async readWord(frame: FrameHead): Promise<LastWord> {
    const position = this.reader.offset;
    const { payloadLength } = frame.header;
    if (payloadLength > MAX_WORD_LENGTH) this.fail('last word', `it is too long (${payloadLength} bytes)`);
    const payload = await readPayload(this.reader, frame, 'a last word');
    if (payload === null) this.fail('last word', 'its checksum is wrong: it was damaged on the way');
    return parseLastWord(payload, this.what, position);
  }

  private fail(field: string, problem: string): never {
    throw new FormatError(this.what, this.reader.offset, field, problem);
  }
}

function isWord({ type, flags }: FrameHeader): boolean {
  return type === RESULT && flags === 0;
}
