import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { CODEC_IDS, CODEC_LEVELS } from '../../src/codec/codec.js';
import { listCodecs, loadCodec } from '../../src/codec/load-codec.js';
import {
  CHECKSUM_LENGTH,
  DATA,
  encodeEnd,
  encodeFrame,
  END,
  FRAME_HEADER_LENGTH,
  FrameChain,
  HEADER,
  PROTOCOL_LINE,
} from '../../src/stream/frame-format.js';
import { encodeHeader } from '../../src/stream/stream-header.js';
import { feed, readAll, someHeader } from '../support/scenes/feed.js';
import { dataPrefix } from '../support/scenes/reframe.js';

const BLOCK = 4096;
const codecs = await listCodecs();

/** A stream of one block, right in all but what its codec makes of these bytes. */
function streamOf(prefix: Buffer, packed: Uint8Array): Buffer {
  const chain = new FrameChain();
  const frames = [
    encodeFrame(HEADER, 0, 0, encodeHeader(someHeader(BLOCK))),
    encodeFrame(DATA, 0, 1, Buffer.concat([prefix, packed])),
  ];
  for (const frame of frames)
    chain.add(frame.subarray(0, FRAME_HEADER_LENGTH), frame.subarray(-CHECKSUM_LENGTH));
  const totals = { frames: 2, dataBytes: BLOCK, zeroBytes: 0, discardBytes: 0 };
  return Buffer.concat([
    Buffer.from(PROTOCOL_LINE),
    ...frames,
    encodeFrame(END, 0, 2, encodeEnd(totals, chain.value)),
  ]);
}

describe.each(codecs)('%s in a frame whose checksum is right', (name) => {
  it('never gives other bytes than the writer had, however its own are damaged', async () => {
    const codec = await loadCodec(name);
    if (codec === null) throw new Error(`${name} is not there`);
    const raw = Buffer.concat([Buffer.alloc(BLOCK - 200, 'some text, '), randomBytes(200)]);
    const room = Buffer.alloc(BLOCK);
    const length = await codec.compress(raw, room, CODEC_LEVELS[name].usual);
    const packed = room.subarray(0, length ?? 0);
    const crc = Buffer.alloc(4);
    crc.writeUInt32BE(crc32(raw));
    const prefix = Buffer.concat([dataPrefix(0, BLOCK, CODEC_IDS[name]), crc]);
    const whole = await readAll(feed(streamOf(prefix, packed)));
    expect(whole).toMatchObject({
      outcome: 'ok',
      items: [`data 0 ${BLOCK} ${crc32(raw).toString(16).padStart(8, '0')}`],
    });

    let refused = 0;
    for (let bit = 0; bit < packed.length * 8; bit += 5) {
      const damaged = Buffer.from(packed);
      damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const reading = await readAll(feed(streamOf(prefix, damaged)));
      // A bit that means nothing to the codec may pass; then the bytes are the right ones.
      expect(reading.outcome === 'ok' ? reading.items : reading.outcome).toEqual(
        reading.outcome === 'ok' ? whole.items : 'FORMAT',
      );
      if (reading.outcome === 'FORMAT') refused += 1;
    }
    expect(refused).toBeGreaterThan(packed.length);
  });
});
