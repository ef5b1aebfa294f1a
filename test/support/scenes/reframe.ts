import {
  CHECKSUM_LENGTH,
  encodeFrame,
  FRAME_HEADER_LENGTH,
  FrameChain,
  PROTOCOL_LINE,
} from '../../../src/stream/frame-format.js';

/** A frame to be put into a stream. */
export interface ExtraFrame {
  readonly type: string;
  readonly payload: Buffer;
}

/** Where each frame of a good stream starts. */
export function framesOf(stream: Buffer): number[] {
  const positions: number[] = [];
  for (let at = PROTOCOL_LINE.length; at < stream.length;) {
    positions.push(at);
    at += FRAME_HEADER_LENGTH + stream.readUInt32BE(at) + CHECKSUM_LENGTH;
  }
  return positions;
}

/** What precedes the bytes of a data frame. */
export function dataPrefix(offset: number, length: number, codec = 0): Buffer {
  const prefix = Buffer.alloc(13);
  prefix.writeBigUInt64BE(BigInt(offset), 0);
  prefix.writeUInt32BE(length, 8);
  prefix.writeUInt8(codec, 12);
  return prefix;
}

/** A good stream with frames put before its end, and another end frame, all of it numbered and summed rightly. */
export function restream(
  stream: Buffer,
  extra: readonly ExtraFrame[],
  ending: (number: number, chain: Buffer) => Buffer,
): Buffer {
  const positions = framesOf(stream);
  const body = stream.subarray(0, positions.at(-1));
  const chain = new FrameChain();
  const frames = positions.slice(0, -1).map((at, index) => stream.subarray(at, positions[index + 1]));
  for (const { type, payload } of extra) frames.push(encodeFrame(type, 0, frames.length, payload));
  for (const frame of frames)
    chain.add(frame.subarray(0, FRAME_HEADER_LENGTH), frame.subarray(-CHECKSUM_LENGTH));
  const added = frames.slice(positions.length - 1);
  return Buffer.concat([body, ...added, ending(frames.length, chain.value)]);
}
