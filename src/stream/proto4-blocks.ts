import type { Extent } from '../bytes/extent.js';
import { FormatError } from '../errors.js';
import type { Entry } from './batches/batch.js';
import { MAX_BLOCK_LENGTH, type Mark } from './block.js';
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
import type { FrameReader, SmallFrame } from './frames/frame-reader.js';
import type { ItemReader, Step } from './batches/read-batches.js';
import { CHECKPOINT, parseCheckpoint, RESUME, takeToken } from './mark-format.js';
import type { StreamHeader } from './stream-header.js';
import type { CompressedBlock } from './unpack-blocks.js';

const NOTHING: Entry = { kind: 'zero', offset: 0, length: 0 };

/**
 * Reads what follows the header, up to the end frame and the end of file after it, and checks all the rules of the
 * format.
 */
export class Proto4Blocks implements ItemReader {
  entry = NOTHING;
  packed: CompressedBlock | null = null;
  mark: Mark | null = null;
  private readonly rules: StreamRules;
  private memory: Buffer = Buffer.alloc(0);
  private start = 0;
  private state: 'blocks' | 'end frame' | 'ended' | 'over' = 'blocks';

  /** @param skipped receives each frame that may be skipped, and is; its payload is valid until the call returns */
  constructor(
    private readonly frames: FrameReader,
    header: StreamHeader,
    private readonly skipped: (frame: SmallFrame) => void = () => undefined,
  ) {
    this.rules = new StreamRules(header.volumeSize, frames);
  }

  get position(): number {
    return this.frames.position;
  }

  get dataLength(): number {
    return this.frames.dataLength;
  }

  placeData(memory: Buffer, start: number): void {
    this.memory = memory;
    this.start = start;
    this.frames.placeData(memory, start);
  }

  async waitForBytes(): Promise<void> {
    if (this.state === 'blocks') await this.frames.waitForBytes();
    else if (await this.frames.reader.atEnd()) this.state = 'ended';
  }

  advance(): Step {
    for (;;) {
      if (this.state !== 'blocks') return this.advanceBehindEnd();
      const progress = this.frames.advance();
      if (progress !== 'frame') return progress;
      const step = this.frames.hasData ? this.takeData() : this.takeSmall();
      if (step !== null) return step;
    }
  }

  private advanceBehindEnd(): Step {
    const { frames } = this;
    const { reader, what } = frames;
    if (reader.atHand > 0)
      throw new FormatError(what, reader.offset, 'end', 'there is data after the end frame');
    if (this.state === 'end frame') return 'bytes';
    if (this.state === 'over' || frames.header.flags !== NAMELESS) return 'end';
    this.state = 'over';
    return this.passMark({ kind: 'nameless' });
  }

  private takeData(): Step {
    const { position, codec, crc, said, dataLength } = this.frames;
    const { offset, rawLength: length } = said;
    const { memory, start } = this;
    this.rules.checkRange('data', offset, length);
    if (codec === null) return this.pass({ kind: 'data', offset, length, crc, start });
    const data = { bytes: memory.subarray(start, start + dataLength), release: () => undefined };
    const packed: CompressedBlock = { kind: 'packed', offset, length, data, codec, position };
    return this.pass({ kind: 'data', offset, length, start }, packed);
  }

  /** Null for a frame that may be skipped, or is the last one. */
  private takeSmall(): Step | null {
    const { frames, rules } = this;
    const { type } = frames.header;
    if (type === END) {
      rules.checkFlags(NAMELESS);
      rules.checkEnd();
      this.state = 'end frame';
      return null;
    }
    if (KNOWN_TYPES.has(type)) rules.checkFlags();
    switch (type) {
      case ZERO:
        return this.pass(rules.takeRange('zero'));
      case DISCARD:
        return this.pass(rules.takeRange('discard'));
      case PROOF:
        return this.pass(rules.takeProof());
      case SECTION:
        return this.pass(rules.takeSection());
      case NEXT_PASS:
        rules.startPass();
        return this.passMark({ kind: 'next-pass' });
      case AUDIT:
        return this.passMark({ kind: 'audit', ...rules.takeAudit() });
      case CHECKPOINT:
        return this.passMark({ kind: 'checkpoint', ...rules.takeCheckpoint() });
      case RESUME:
        return this.passMark({ kind: 'resume', token: rules.takeResume() });
      default: {
        rules.checkSkippable();
        const { header, position, payload } = frames;
        this.skipped({ header, position, payload });
        return null;
      }
    }
  }

  private pass(entry: Entry, packed: CompressedBlock | null = null): Step {
    this.entry = entry;
    this.packed = packed;
    this.mark = null;
    return 'item';
  }

  private passMark(mark: Mark): Step {
    this.mark = mark;
    return 'item';
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

/** Checks each frame of a stream, once it was read, against the header and the format. */
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
    private readonly frame: FrameReader,
  ) {
    this.order = new ExtentOrder(volumeSize);
  }

  checkFlags(allowed = 0): void {
    const { flags, type } = this.frame.header;
    if ((flags & ~allowed) === 0) return;
    this.fail(`${type} frame`, `unknown flags 0x${flags.toString(16)}`);
  }

  takeRange(kind: 'zero' | 'discard'): Entry {
    const { offset, length } = this.parseRange();
    this.checkRange(kind, offset, length);
    return { kind, offset, length };
  }

  takeProof(): Entry {
    this.checkLength(PROOF_LENGTH);
    this.order.closeSection();
    const { bytes, payloadAt, what, position } = this.frame;
    const { offset, length, crc } = parseProof(bytes, what, position, payloadAt);
    const problem = length > MAX_BLOCK_LENGTH ? 'longer than a block' : this.order.findMisfit(offset, length);
    if (problem !== null) this.fail('proof', problem);
    return { kind: 'proof', offset, length, crc };
  }

  takeSection(): Entry {
    this.checkLength(SECTION_LENGTH);
    const { bytes, payloadAt, what, position } = this.frame;
    const { offset, length, oldCrc, newCrc } = parseSection(bytes, what, position, payloadAt);
    const problem =
      length > MAX_BLOCK_LENGTH ? 'longer than a block' : this.order.openSection(offset, length);
    if (problem !== null) this.fail('section', problem);
    this.hasBegun = true;
    this.isPassNew = false;
    return { kind: 'section', offset, length, crc: oldCrc, newCrc };
  }

  /** Checks that an extent is within the volume, in whole sectors, after the one before. */
  checkRange(kind: 'data' | 'zero' | 'discard', offset: number, length: number): void {
    const problem = this.order.take(offset, length);
    if (problem !== null) this.fail('extent', problem);
    if (this.audit === 'under way') this.fail('extent', 'a block in a pass that only audits');
    this.hasBegun = true;
    this.isPassNew = false;
    this.bytes[kind] += length;
  }

  startPass(): void {
    this.checkLength(4);
    this.hasBegun = true;
    this.order.startPass();
    this.isPassNew = true;
    if (this.audit === 'under way') this.audit = 'over';
    const pass = this.frame.payload.readUInt32BE(0);
    if (pass !== this.order.pass) this.fail('pass', `${pass} instead of ${this.order.pass}`);
  }

  takeAudit(): Extent {
    const { offset, length } = this.parseRange();
    const problem = this.order.findMisfit(offset, length);
    if (problem !== null) this.fail('audit', problem);
    if (!this.isPassNew || this.audit !== 'none')
      this.fail('audit', 'it is a second one, or in the middle of a pass');
    this.audit = 'under way';
    return { offset, length };
  }

  takeCheckpoint() {
    const { header, what, position, chainBefore } = this.frame;
    const { chain, token } = parseCheckpoint(this.copyPayload(), what, position);
    if (!chain.equals(chainBefore)) {
      this.fail('checkpoint', 'its digest does not match the frames before it');
    }
    this.order.closeSection();
    this.hasBegun = true;
    return { frame: header.number, token };
  }

  takeResume(): Buffer {
    if (this.hasBegun) this.fail('R frame', 'it comes after the first block');
    this.hasBegun = true;
    return takeToken(this.copyPayload(), 0, this.frame.what, this.frame.position);
  }

  checkSkippable(): void {
    const { type, flags } = this.frame.header;
    if (type === HEADER) this.fail('H frame', 'a second header');
    if ((flags & OPTIONAL) !== 0) return;
    const name = /[!-~]/.test(type) ? type : `0x${type.charCodeAt(0).toString(16)}`;
    this.fail('frame type', `${name} is unknown; a newer lvmsync wrote this stream`);
  }

  checkEnd(): void {
    this.checkLength(END_LENGTH);
    const { header, payload, what, position, chainBefore } = this.frame;
    const end = parseEnd(payload, what, position);
    const { data, zero, discard } = this.bytes;
    const right =
      end.frames === header.number &&
      end.dataBytes === data &&
      end.zeroBytes === zero &&
      end.discardBytes === discard;
    if (!right) this.fail('end frame', 'its counts do not match the frames before it');
    if (!end.chain.equals(chainBefore))
      this.fail('end frame', 'its digest does not match the frames before it');
  }

  private parseRange(): Extent {
    this.checkLength(RANGE_LENGTH);
    const { bytes, payloadAt, what, position } = this.frame;
    return parseRange(bytes, what, position, payloadAt);
  }

  /** For a token, which outlives the bytes at hand. */
  private copyPayload(): Buffer {
    return Buffer.from(this.frame.payload);
  }

  private checkLength(length: number): void {
    const { payloadLength, type } = this.frame.header;
    if (payloadLength !== length) {
      this.fail(`${type} frame`, `${payloadLength} bytes long instead of ${length}`);
    }
  }

  private fail(field: string, problem: string): never {
    throw new FormatError(this.frame.what, this.frame.position, field, problem);
  }
}
