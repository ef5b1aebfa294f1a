import { crc32, deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { CODEC_IDS } from '../../src/codec/codec.js';
import { parseFrameHeader } from '../../src/stream/frame-format.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { patterned } from '../support/blocks.js';
import { applyAndRecover, forEach, upTo, type How } from '../support/scenes/apply-and-recover.js';
import { someHeader } from '../support/scenes/feed.js';
import { framesOf } from '../support/scenes/reframe.js';
import { collectingSink } from '../support/streams.js';

/* What a session between two hosts sends, damaged: sections, compressed blocks, checkpoints, a beginning left out. */

const SIZE = 24 * 512;
const BASE = patterned(SIZE);
const RESULT = Buffer.from(BASE);
RESULT.fill('one', 1024, 1536);
RESULT.fill('two', 2048, 2560);
RESULT.fill('three', 5120, 6144);
RESULT.fill(0, 8192, 9216);
RESULT.fill(0, 0, 512);
const HEADER = {
  ...{ ...someHeader(SIZE), base: 'A', result: 'B' },
  ...{ sample: { changed: 1, unchanged: 1 }, heartbeat: 5, unit: 512 },
};
const TOKEN = Buffer.from('a place');
const SLOW = 120_000;

const of = (bytes: Buffer, offset: number, length: number) => bytes.subarray(offset, offset + length);

async function openSection(writer: FrameWriter, offset: number, length: number): Promise<void> {
  const [oldCrc, newCrc] = [BASE, RESULT].map((bytes) => crc32(of(bytes, offset, length)));
  await writer.openSection({ offset, length, oldCrc: oldCrc ?? 0, newCrc: newCrc ?? 0 });
}

/** To the place at which another line can go on. */
async function sendBeginning(writer: FrameWriter): Promise<void> {
  await openSection(writer, 1024, 2048);
  await writer.data(1024, of(RESULT, 1024, 512));
  await writer.data(2048, of(RESULT, 2048, 512));
  await writer.checkpoint(TOKEN);
}

/** A session, and how it is applied. */
interface Session {
  readonly stream: Buffer;
  readonly how: How;
}

async function wholeSession(): Promise<Session> {
  const { sink, writer } = await begin();
  await sendBeginning(writer);
  await sendRest(writer);
  return { stream: sink.bytes(), how: { isHeard: true } };
}

/** The same over a second line, where a first one brought all up to the checkpoint, and a part of what follows. */
async function resumedSession(): Promise<Session> {
  const { sink, writer } = await begin();
  await writer.resume(TOKEN);
  await sendRest(writer);
  const { stream: whole } = await wholeSession();
  const behindTheRest = framesOf(whole).at(-3);
  return { stream: sink.bytes(), how: { isHeard: true, earlier: whole.subarray(0, behindTheRest) } };
}

const typeAt = (stream: Buffer, position: number) =>
  parseFrameHeader(stream.subarray(position), 'stream', position).type;

/** Where sections, marks and compressed blocks begin and end. */
function framesOnlyOfSessions(stream: Buffer): (readonly [number, number])[] {
  const positions = framesOf(stream);
  return positions
    .map((from, index) => [from, positions[index + 1] ?? stream.length] as const)
    .filter(([from, to]) => {
      const type = typeAt(stream, from);
      return 'SCRK'.includes(type) || (type === 'D' && to - from < 512);
    });
}

describe.each([
  ['a whole session', wholeSession, 'HPPSDDCSDKPZCNUE'],
  ['a session that goes on', resumedSession, 'HPPRSDKPZCNUE'],
])('%s', (_name, make, types) => {
  it('has every kind of frame, and makes the target new', async () => {
    const { stream, how } = await make();
    expect(
      framesOf(stream)
        .map((position) => typeAt(stream, position))
        .join(''),
    ).toBe(types);
    for (const pieceLength of [1, 7, 65_536]) {
      const { code, recovered } = await applyAndRecover(stream, BASE, { ...how, pieceLength });
      expect(code).toBe('ok');
      expect(recovered).toBeBytes(RESULT);
    }
  });

  it(
    'cut at every byte leaves the target old after recover, however the bytes arrive',
    async () => {
      const { stream, how } = await make();
      let halfWritten = 0;
      await forEach(upTo(stream.length), async (cut) => {
        const pieceLength = cut % 2 === 0 ? 1 : 65_536;
        const outcome = await applyAndRecover(stream.subarray(0, cut), BASE, { ...how, pieceLength });
        expect(outcome.code, `cut at ${cut}`).toBe('TRUNCATED');
        expect(outcome.recovered, `cut at ${cut}`).toBeBytes(BASE);
        if (!outcome.left.equals(BASE)) halfWritten += 1;
      });
      // Else it would show nothing.
      expect(halfWritten).toBeGreaterThan(100);
    },
    SLOW,
  );

  it(
    'with a bit flipped in any byte, or any bit of what only sessions have, never passes',
    async () => {
      const { stream, how } = await make();
      const bits = new Set(upTo(stream.length).map((byte) => byte * 8 + (byte % 8)));
      for (const [from, to] of framesOnlyOfSessions(stream)) {
        for (let bit = from * 8; bit < to * 8; bit++) bits.add(bit);
      }
      const codes = new Set<string>();
      await forEach([...bits], async (bit) => {
        const damaged = Buffer.from(stream);
        damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        const { code, recovered } = await applyAndRecover(damaged, BASE, how);
        expect(code, `bit ${bit}`).not.toBe('ok');
        expect(recovered, `old again, bit ${bit}`).toBeBytes(BASE);
        codes.add(code);
      });
      expect([...codes].sort()).toEqual(['FORMAT', 'TRUNCATED']);
    },
    SLOW,
  );
});

async function begin() {
  const sink = collectingSink();
  const writer = new FrameWriter(sink);
  await writer.start(HEADER);
  for (const [offset, length] of [
    [1024, 512],
    [512, 512],
  ] as const) {
    await writer.prove({ offset, length, crc: crc32(of(BASE, offset, length)) });
  }
  return { sink, writer };
}

async function sendRest(writer: FrameWriter): Promise<void> {
  await openSection(writer, 4096, 2048);
  const raw = of(RESULT, 5120, 1024);
  await writer.data(5120, raw, { packed: { codec: CODEC_IDS.zlib, bytes: deflateSync(raw) } });
  await writer.heartbeat();
  await writer.prove({ offset: 8192, length: 1024, crc: crc32(of(BASE, 8192, 1024)) });
  await writer.zero(8192, 1024);
  await writer.checkpoint(Buffer.alloc(0));
  await writer.nextPass();
  await writer.discard(0, 512);
  await writer.finish();
}
