import { crc32 } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { BlockBatch } from '../../src/stream/batches/batch.js';
import { ByteReader } from '../../src/stream/frames/byte-reader.js';
import { CHECKSUM_LENGTH, FRAME_HEADER_LENGTH, FrameChain } from '../../src/stream/frame-format.js';
import { FrameReader } from '../../src/stream/frames/frame-reader.js';
import { openIncomingStream, readProtocolLine } from '../../src/stream/incoming-stream.js';
import { readBatches, VOLUME, writeMixedStream } from '../support/scenes/batchwise.js';
import { feed, Lender } from '../support/scenes/feed.js';
import { framesOf } from '../support/scenes/reframe.js';
import { wholeVector } from './vectors/load-vectors.js';

let stream: Buffer;
beforeAll(async () => (stream = await writeMixedStream()));

test('the same batches and marks come out of pieces of 1, 7, 4096 bytes as of one', async () => {
  const whole = await readBatches(stream);
  expect(whole.map((batch) => batch.length)).toEqual([5, 1, 1, 1, 1, 1]);
  for (const length of [1, 7, 4096]) expect(await readBatches(stream, length), `${length}`).toEqual(whole);
});

/** The stream with a change to one of its frames, whose checksum is right again unless the change says otherwise. */
function damage(index: number, change: (frame: Buffer) => void, repair = true): Buffer {
  const positions = framesOf(stream);
  const damaged = Buffer.from(stream);
  const frame = damaged.subarray(positions[index], positions[index + 1]);
  change(frame);
  const body = frame.subarray(0, -CHECKSUM_LENGTH);
  if (repair) frame.writeUInt32BE(crc32(body), body.length);
  return damaged;
}

const PROOF_FRAME = 1;
const DATA_FRAME = 2;
const SECTION_FRAME = 3;
const ZERO_FRAME = 5;
const PAYLOAD = FRAME_HEADER_LENGTH;

describe('damage is found, and named with its place, whether the frame came in one piece or not:', () => {
  test.each<[string, number, (frame: Buffer) => void, string, boolean?]>([
    [
      'too long a payload',
      DATA_FRAME,
      (frame) => frame.writeUInt32BE(2 ** 31),
      'payload length: 2147483648 bytes',
    ],
    ['too short a data frame', DATA_FRAME, (frame) => frame.writeUInt32BE(12), 'data frame: only 12 bytes'],
    ['an unknown type', DATA_FRAME, (frame) => frame.write('Y', 4), 'frame type: Y is unknown'],
    ['a flag', DATA_FRAME, (frame) => frame.writeUInt8(1, 5), 'D frame: unknown flags 0x1'],
    ['a number', DATA_FRAME, (frame) => frame.writeUInt32BE(9, 10), 'frame: number 9 instead of 2'],
    [
      'a number that cannot be',
      DATA_FRAME,
      (frame) => frame.writeUInt8(255, 6),
      'frame number: impossibly large',
    ],
    [
      'an offset that cannot be',
      DATA_FRAME,
      (frame) => frame.writeUInt8(255, PAYLOAD),
      'offset: impossibly large',
    ],
    [
      'an offset past the end',
      DATA_FRAME,
      (frame) => frame.writeUInt32BE(VOLUME, PAYLOAD + 4),
      "extent: a block of 512 bytes at 65536 is past the volume's end",
    ],
    [
      'a raw length',
      DATA_FRAME,
      (frame) => frame.writeUInt32BE(1024, PAYLOAD + 8),
      'raw length: it does not match the data',
    ],
    ['a codec', DATA_FRAME, (frame) => frame.writeUInt8(99, PAYLOAD + 12), 'codec: 99 is unknown'],
    [
      'a length that no codec gives',
      DATA_FRAME,
      (frame) => frame.writeUInt8(1, PAYLOAD + 12),
      'raw length: 512 bytes of',
    ],
    [
      'the data',
      DATA_FRAME,
      (frame) => frame.writeUInt8(0, PAYLOAD + 100),
      'frame 2: its checksum is wrong',
      false,
    ],
    [
      'the checksum',
      DATA_FRAME,
      (frame) => frame.writeUInt8(frame.readUInt8(frame.length - 1) ^ 1, frame.length - 1),
      'frame 2: its checksum is wrong',
      false,
    ],
    [
      'a proof',
      PROOF_FRAME,
      (frame) => frame.writeUInt8(7, PAYLOAD + 9),
      'frame 1: its checksum is wrong',
      false,
    ],
    [
      'the length of a proof',
      PROOF_FRAME,
      (frame) => frame.writeUInt32BE(2 ** 21, PAYLOAD + 8),
      'proof: longer than a block',
    ],
    [
      'the place of a section',
      SECTION_FRAME,
      (frame) => frame.writeUInt32BE(0, PAYLOAD + 4),
      'section: a block of 4096 bytes at 0 is not after the one before it',
    ],
    [
      'the length of zeroes',
      ZERO_FRAME,
      (frame) => frame.writeUInt32BE(100, PAYLOAD + 12),
      'extent: a block of 100 bytes at 5632 is not in whole sectors',
    ],
  ])('%s', async (_what, index, change, words, repair = true) => {
    const damaged = damage(index, change, repair);
    const whole = await readBatches(damaged);
    const [code, message] = whole.at(-1) ?? [];
    expect(code).toBe('FORMAT');
    const [field = '', problem = ''] = words.split(': ');
    expect(message).toContain(`test stream: ${field} at byte ${framesOf(stream)[index] ?? NaN}: ${problem}`);
    expect(whole.slice(0, -1).flat(), 'what came before').toHaveLength(index - 1);
    for (const length of [1, 7, 512]) expect(await readBatches(damaged, length), `${length}`).toEqual(whole);
  });
});

describe('the reader of frames', () => {
  /** Reads all frames step by step; returns their types, and how often the reader waited for bytes. */
  async function step(bytes: Buffer, ...lengths: readonly number[]) {
    const reader = new ByteReader(feed(bytes, ...lengths), 'test stream');
    await readProtocolLine(reader, 'test stream');
    const frames = new FrameReader(reader, 'test stream');
    const memory = Buffer.alloc(64 * 1024);
    let [types, waits] = ['', 0];
    while (!types.endsWith('E')) {
      const progress = frames.advance();
      if (progress === 'place') frames.placeData(memory, 0);
      else if (progress === 'frame') types += frames.header.type;
      else {
        waits += 1;
        await frames.waitForBytes();
      }
    }
    return { types, waits };
  }

  test('waits for no frame that has come, only where a piece ends', async () => {
    expect(await step(stream)).toEqual({ types: 'HPDSDZCUKNDE', waits: 0 });
    const { types, waits } = await step(stream, 1000);
    expect(types).toBe('HPDSDZCUKNDE');
    const pieces = Math.ceil(stream.length / 1000);
    // Where a piece ends in a frame, its header, its prefix and its checksum may each need a wait.
    expect(waits).toBeLessThanOrEqual(3 * pieces);
  });

  test('keeps both chains as they were when they were asked for', () => {
    const chain = new FrameChain();
    const frame = (byte: number) =>
      [Buffer.alloc(FRAME_HEADER_LENGTH, byte), Buffer.alloc(CHECKSUM_LENGTH, byte)] as const;
    const seen: Buffer[] = [chain.value];
    for (const byte of [1, 2, 3]) {
      chain.add(...frame(byte));
      expect(chain.before).toBeBytes(seen.at(-1));
      seen.push(chain.value);
    }
    expect(new Set(seen.map((value) => value.toString('hex'))).size).toBe(4);
    expect(seen[0]).toBeBytes(Buffer.alloc(32));
  });

  test('gives a token that outlives the piece that it came in', async () => {
    const { bytes } = wholeVector('checkpoints');
    const { blocks } = await openIncomingStream(feed(bytes, 4096), new Lender().lend, 'test stream');
    const tokens: Buffer[] = [];
    const then: string[] = [];
    for await (const item of blocks) {
      if (item instanceof BlockBatch) item.release();
      else if (item.kind === 'checkpoint' || item.kind === 'resume') {
        tokens.push(item.token);
        then.push(item.token.toString('hex'));
      }
    }
    expect(tokens.length).toBeGreaterThan(0);
    expect(tokens.map((token) => token.toString('hex'))).toEqual(then);
  });
});
