import type { LendBuffer } from '../bytes/byte-channel.js';
import { FormatError } from '../errors.js';
import { MAX_BLOCK_LENGTH, type Proof, type Section, type StreamItem } from './block.js';
import { ExtentOrder } from './extent-order.js';
import {
  AUDIT,
  DATA,
  DISCARD,
  END,
  END_LENGTH,
  HEADER,
  NAMELESS,
  NEXT_PASS,
  OPTIONAL,
  parseEnd,
  parseProof,
  parseRange,
  parseSection,
  PROOF,
  PROOF_LENGTH,
  RANGE_LENGTH,
  SECTION,
  SECTION_LENGTH,
  ZERO,
} from './frame-format.js';
import type { DataFrame, FrameReader, SmallFrame } from './frame-reader.js';
import { CHECKPOINT, parseCheckpoint, RESUME, takeToken } from './mark-format.js';
import type { StreamHeader } from './stream-header.js';
import type { PackedItem } from './unpack-blocks.js';

/**
 * Reads what follows the header, up to the end frame and the end of file after it, and checks all the rules of the
 * format.
 *
 * @param skipped receives each frame that may be skipped, and is
 */
export async function* readProto4Blocks(
  frames: FrameReader,
  header: StreamHeader,
  lend: LendBuffer,
  skipped: (frame: SmallFrame) => void = () => undefined,
): AsyncGenerator<PackedItem> {
  const { reader, what } = frames;
  const rules = new StreamRules(header.volumeSize, what);
  for (;;) {
    const frame = await frames.next(lend);
    if ('data' in frame) {
      yield takeData(frame, rules);
    } else if (frame.header.type === END) {
      rules.checkFlags(frame, NAMELESS);
      rules.checkEnd(frame, frames.chainBefore);
      if (!(await reader.atEnd()))
        throw new FormatError(what, reader.offset, 'end', 'there is data after the end frame');
      if (frame.header.flags === NAMELESS) yield { kind: 'nameless' };
      return;
    } else {
      const item = takeSmall(frame, rules, frames.chainBefore);
      if (item === null) skipped(frame);
      else yield item;
    }
  }
}

function takeData(frame: DataFrame, rules: StreamRules): PackedItem {
  const { offset, data, codec, crc, position, rawLength: length } = frame;
  try {
    rules.checkRange('data', frame.position, offset, length);
  } catch (error) {
    data.release();
    throw error;
  }
  if (codec !== null) return { kind: 'packed', offset, length, data, codec, position };
  return { kind: 'data', offset, length, data, crc };
}

/** Null for a frame that may be skipped. */
function takeSmall(frame: SmallFrame, rules: StreamRules, chainBefore: Buffer): StreamItem | null {
  if (KNOWN_TYPES.has(frame.header.type)) rules.checkFlags(frame);
  switch (frame.header.type) {
    case ZERO:
      return { kind: 'zero', ...rules.takeRange('zero', frame) };
    case DISCARD:
      return { kind: 'discard', ...rules.takeRange('discard', frame) };
    case PROOF:
      return { kind: 'proof', ...rules.takeProof(frame) };
    case SECTION:
      return { kind: 'section', ...rules.takeSection(frame) };
    case NEXT_PASS:
      rules.startPass(frame);
      return { kind: 'next-pass' };
    case AUDIT:
      return { kind: 'audit', ...rules.takeAudit(frame) };
    case CHECKPOINT:
      return { kind: 'checkpoint', ...rules.takeCheckpoint(frame, chainBefore) };
    case RESUME:
      return { kind: 'resume', token: rules.takeResume(frame) };
    default:
      rules.checkSkippable(frame);
      return null;
  }
}

/** Types that are never optional, and in this version have no flags, except one in the end frame. */
const KNOWN_TYPES = new Set([
  HEADER,
  DATA,
  ZERO,
  DISCARD,
  PROOF,
  SECTION,
  NEXT_PASS,
  AUDIT,
  CHECKPOINT,
  RESUME,
  END,
]);

/** Checks a stream against its header and the format. */
class StreamRules {
  private readonly bytes = { data: 0, zero: 0, discard: 0 };
  private readonly order: ExtentOrder;
  /** Whether anything came except the header and proofs. */
  private hasBegun = false;
  /** Whether a pass has just begun. */
  private isPassNew = false;
  private audit: 'none' | 'under way' | 'over' = 'none';

  constructor(
    volumeSize: number,
    private readonly what: string,
  ) {
    this.order = new ExtentOrder(volumeSize);
  }

  checkFlags({ header, position }: SmallFrame, allowed = 0): void {
    if ((header.flags & ~allowed) === 0) return;
    this.fail(position, `${header.type} frame`, `unknown flags 0x${header.flags.toString(16)}`);
  }

  takeRange(kind: 'zero' | 'discard', frame: SmallFrame) {
    this.checkLength(frame, RANGE_LENGTH);
    const { offset, length } = parseRange(frame.payload, this.what, frame.position);
    this.checkRange(kind, frame.position, offset, length);
    return { offset, length };
  }

  takeProof(frame: SmallFrame): Proof {
    this.checkLength(frame, PROOF_LENGTH);
    this.order.closeSection();
    const proof = parseProof(frame.payload, this.what, frame.position);
    const problem =
      proof.length > MAX_BLOCK_LENGTH
        ? 'longer than a block'
        : this.order.findMisfit(proof.offset, proof.length);
    if (problem !== null) this.fail(frame.position, 'proof', problem);
    return proof;
  }

  takeSection(frame: SmallFrame): Section {
    this.checkLength(frame, SECTION_LENGTH);
    const section = parseSection(frame.payload, this.what, frame.position);
    const problem =
      section.length > MAX_BLOCK_LENGTH
        ? 'longer than a block'
        : this.order.openSection(section.offset, section.length);
    if (problem !== null) this.fail(frame.position, 'section', problem);
    this.hasBegun = true;
    this.isPassNew = false;
    return section;
  }

  /** Checks that an extent is within the volume, in whole sectors, after the one before. */
  checkRange(kind: 'data' | 'zero' | 'discard', position: number, offset: number, length: number): void {
    const problem = this.order.take(offset, length);
    if (problem !== null) this.fail(position, 'extent', problem);
    if (this.audit === 'under way') this.fail(position, 'extent', 'a block in a pass that only audits');
    this.hasBegun = true;
    this.isPassNew = false;
    this.bytes[kind] += length;
  }

  startPass(frame: SmallFrame): void {
    this.checkLength(frame, 4);
    this.hasBegun = true;
    this.order.startPass();
    this.isPassNew = true;
    if (this.audit === 'under way') this.audit = 'over';
    const pass = frame.payload.readUInt32BE(0);
    if (pass !== this.order.pass) {
      this.fail(frame.position, 'pass', `${pass} instead of ${this.order.pass}`);
    }
  }

  takeAudit(frame: SmallFrame) {
    this.checkLength(frame, RANGE_LENGTH);
    const { offset, length } = parseRange(frame.payload, this.what, frame.position);
    const problem = this.order.findMisfit(offset, length);
    if (problem !== null) this.fail(frame.position, 'audit', problem);
    if (!this.isPassNew || this.audit !== 'none')
      this.fail(frame.position, 'audit', 'it is a second one, or in the middle of a pass');
    this.audit = 'under way';
    return { offset, length };
  }

  takeCheckpoint(frame: SmallFrame, chainBefore: Buffer) {
    const { chain, token } = parseCheckpoint(frame.payload, this.what, frame.position);
    if (!chain.equals(chainBefore)) {
      this.fail(frame.position, 'checkpoint', 'its digest does not match the frames before it');
    }
    this.order.closeSection();
    this.hasBegun = true;
    return { frame: frame.header.number, token };
  }

  takeResume(frame: SmallFrame): Buffer {
    if (this.hasBegun) this.fail(frame.position, 'R frame', 'it comes after the first block');
    this.hasBegun = true;
    return takeToken(frame.payload, 0, this.what, frame.position);
  }

  checkSkippable({ header, position }: SmallFrame): void {
    if (header.type === HEADER) this.fail(position, 'H frame', 'a second header');
    if ((header.flags & OPTIONAL) !== 0) return;
    const type = /[!-~]/.test(header.type) ? header.type : `0x${header.type.charCodeAt(0).toString(16)}`;
    this.fail(position, 'frame type', `${type} is unknown; a newer lvmsync wrote this stream`);
  }

  checkEnd(frame: SmallFrame, chain: Buffer): void {
    this.checkLength(frame, END_LENGTH);
    const end = parseEnd(frame.payload, this.what, frame.position);
    const { data, zero, discard } = this.bytes;
    const right =
      end.frames === frame.header.number &&
      end.dataBytes === data &&
      end.zeroBytes === zero &&
      end.discardBytes === discard;
    if (!right) this.fail(frame.position, 'end frame', 'its counts do not match the frames before it');
    if (!end.chain.equals(chain))
      this.fail(frame.position, 'end frame', 'its digest does not match the frames before it');
  }

  private checkLength({ payload, position, header }: SmallFrame, length: number): void {
    if (payload.length !== length) {
      this.fail(position, `${header.type} frame`, `${payload.length} bytes long instead of ${length}`);
    }
  }

  private fail(position: number, field: string, problem: string): never {
    throw new FormatError(this.what, position, field, problem);
  }
}
