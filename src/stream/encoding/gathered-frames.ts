import { crc32, joinChecksums } from '../../bytes/contents.js';
import { CHECKSUM_LENGTH, FRAME_HEADER_LENGTH, FrameChain, putFrameHeader, viewOf } from '../frame-format.js';

/** How much is gathered before it is passed on. Bytes. */
const CAPACITY = 256 * 1024;
/** A longer body is passed on as it is: copying it costs more than another write. Bytes. */
const COPIED_BELOW = 16 * 1024;
/** More than two frames take here, with bodies that are copied. Bytes. */
const ROOM = 3 * COPIED_BELOW;

const NOTHING = new Uint8Array(0);

/** A frame about to be put. Bytes. */
interface FrameStart {
  readonly type: string;
  readonly flags?: number;
  /** The length of the fields that its payload begins with. */
  readonly fieldsLength: number;
  /** The length of what follows them. */
  readonly bodyLength?: number;
}

/**
 * Frames that are encoded, but not passed on yet: in one memory, except for long bodies, which stay where they are.
 * Nothing here waits: look at `isFull` after each frame.
 */
export class GatheredFrames {
  /** How many frames were put so far, which is the number of the next one. */
  count = 0;
  /** The length of the stream so far. Bytes. */
  length = 0;
  readonly chain = new FrameChain();
  private readonly memory = Buffer.allocUnsafeSlow(CAPACITY);
  /** The memory, for the fields of a frame's payload. */
  readonly fields = viewOf(this.memory);
  private used = 0;
  /** What comes before the part of the memory that begins at `from`. */
  private pieces: Uint8Array[] = [];
  private from = 0;
  /** The frame that is being put, and where it is in the memory. */
  private header = { type: '', flags: 0, payloadLength: 0, number: 0 };
  private start = 0;
  private isTaken = false;

  get isEmpty(): boolean {
    return this.used === 0;
  }

  /** Whether it should be passed on before anything else is put. */
  get isFull(): boolean {
    return this.used > CAPACITY - ROOM;
  }

  /** Begins a frame. Returns where its fields belong; then it has to be ended. */
  begin({ type, flags = 0, fieldsLength, bodyLength = 0 }: FrameStart): number {
    if (this.isTaken) throw new Error('a frame while others are passed on');
    const { header, used } = this;
    header.type = type;
    header.flags = flags;
    header.payloadLength = fieldsLength + bodyLength;
    header.number = this.count;
    putFrameHeader(this.fields, used, header);
    this.start = used;
    const at = used + FRAME_HEADER_LENGTH;
    this.used = at + fieldsLength;
    return at;
  }

  /**
   * Ends a frame whose fields are put.
   *
   * @param crc the CRC-32 of the body
   */
  end(body: Uint8Array = NOTHING, crc = 0): void {
    const { memory, start, header } = this;
    const before = crc32(memory.subarray(start, this.used));
    if (body.length >= COPIED_BELOW) {
      this.pieces.push(memory.subarray(this.from, this.used), body);
      this.from = this.used;
    } else if (body.length > 0) {
      memory.set(body, this.used);
      this.used += body.length;
    }
    const checksum = body.length === 0 ? before : joinChecksums(before, crc, body.length);
    this.fields.setUint32(this.used, checksum);
    this.chain.addHeader(memory, start);
    this.chain.addChecksum(memory, this.used);
    this.used += CHECKSUM_LENGTH;
    this.count += 1;
    this.length += FRAME_HEADER_LENGTH + header.payloadLength + CHECKSUM_LENGTH;
  }

  /** Puts a frame with this payload. */
  put(type: string, payload: Uint8Array, flags = 0): void {
    this.begin({ type, flags, fieldsLength: 0, bodyLength: payload.length });
    this.end(payload, crc32(payload));
  }

  /** Puts bytes that are not a frame: fewer than a frame takes. */
  putLine(bytes: Uint8Array): void {
    this.memory.set(bytes, this.used);
    this.used += bytes.length;
    this.length += bytes.length;
  }

  /** All of it, in pieces, for a sink. No frame may be put until it is dropped. */
  take(): readonly Uint8Array[] {
    this.isTaken = true;
    return [...this.pieces, this.memory.subarray(this.from, this.used)];
  }

  /** Forgets what was taken: its memory is used again. */
  drop(): void {
    this.pieces = [];
    [this.used, this.from, this.isTaken] = [0, 0, false];
  }
}
