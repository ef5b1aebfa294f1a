import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { encodeEnd, encodeFrame, encodeRange } from '../../src/stream/frame-format.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { Proto3Writer } from '../../src/stream/proto3.js';
import { patterned } from '../support/blocks.js';
import { applyAndRecover, forEach, upTo, type Outcome } from '../support/scenes/apply-and-recover.js';
import { someHeader } from '../support/scenes/feed.js';
import { dataPrefix, framesOf, restream } from '../support/scenes/reframe.js';
import { collectingSink } from '../support/streams.js';

/** Its last sector is not whole, so that a data frame can be small. */
const SIZE = 16 * 512 + 20;
const BASE = patterned(SIZE);
const header = (volumeSize: number) => ({ ...someHeader(volumeSize), base: 'A', result: 'B' });
const SLOW = 60_000;

/** A run that failed: the target was taken back, or shows what it can be made whole from. */
function expectOld({ code, recovered }: Outcome, base: Buffer, at: string): void {
  expect(code, at).not.toBe('ok');
  expect(recovered, `old again, ${at}`).toBeBytes(base);
}

describe('a damaged stream', () => {
  it('that is whole is not damaged: the target is new, however the bytes arrive', async () => {
    const small = await smallStream();
    for (const pieceLength of [1, 7, 65_536]) {
      const { code, recovered } = await applyAndRecover(small.stream, BASE, { pieceLength });
      expect(code).toBe('ok');
      expect(recovered).toBeBytes(small.result);
    }
    const large = await largeStream();
    const { code, recovered } = await applyAndRecover(large.stream, large.base);
    expect(code).toBe('ok');
    expect(recovered).toBeBytes(large.result);
  });

  it.each([65_536, 1])(
    'cut at every byte leaves the target old after recover (pieces of %i)',
    async (pieceLength) => {
      const { stream } = await smallStream();
      let halfWritten = 0;
      await forEach(upTo(stream.length), async (cut) => {
        const outcome = await applyAndRecover(stream.subarray(0, cut), BASE, { pieceLength });
        expectOld(outcome, BASE, `cut at ${cut}`);
        expect(outcome.code).toBe('TRUNCATED');
        if (outcome.left.equals(BASE)) return;
        halfWritten += 1;
        expect(outcome.notices).toEqual([expect.stringMatching(/half-written; "lvmsync recover \/dev\/t"/)]);
      });
      // Else it would show nothing.
      expect(halfWritten).toBeGreaterThan(100);
    },
    SLOW,
  );

  it(
    'that is large, cut at 500 places, leaves the target old after recover',
    async () => {
      const { stream, base } = await largeStream();
      let halfWritten = 0;
      await forEach(upTo(500), async (i) => {
        // Spread by a fixed step that shares no factor with the length.
        const cut = (i * 7919 * 31 + 13) % stream.length;
        const outcome = await applyAndRecover(stream.subarray(0, cut), base);
        expectOld(outcome, base, `cut at ${cut}`);
        if (!outcome.left.equals(base)) halfWritten += 1;
      });
      expect(halfWritten).toBeGreaterThan(100);
    },
    SLOW,
  );

  it(
    'with a bit flipped in any byte, or any bit of its last data frame, never passes',
    async () => {
      const { stream } = await smallStream();
      const [from = 0, to = 0] = framesOf(stream).slice(-2);
      const inData = upTo((to - from) * 8).map((bit) => from * 8 + bit);
      const oneOfEach = upTo(stream.length).map((byte) => byte * 8 + (byte % 8));
      const codes = new Set<string>();
      await forEach([...new Set([...oneOfEach, ...inData])], async (bit) => {
        const damaged = Buffer.from(stream);
        damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        const outcome = await applyAndRecover(damaged, BASE);
        expectOld(outcome, BASE, `bit ${bit}`);
        codes.add(outcome.code);
      });
      expect([...codes].sort()).toEqual(['FORMAT', 'TRUNCATED']);
    },
    SLOW,
  );

  it(
    'without a journal leaves what the whole stream makes new',
    async () => {
      const small = await smallStream();
      await forEach(upTo(small.stream.length), async (cut) => {
        const outcome = await applyAndRecover(small.stream.subarray(0, cut), BASE, { journal: false });
        await expectRepairable(outcome, small, `cut at ${cut}`);
      });
    },
    SLOW,
  );
});

describe('a stream whose checksums are right', () => {
  const data = (offset: number, length: number) =>
    Buffer.concat([dataPrefix(offset, length), Buffer.alloc(length, 1)]);
  const counts = { frames: 0, dataBytes: 0, zeroBytes: 0, discardBytes: 0 };
  const end = (totals: Partial<typeof counts>) => (number: number, chain: Buffer) =>
    encodeFrame('E', 0, number, encodeEnd({ ...counts, frames: number, ...totals }, chain));
  const right = { dataBytes: 40, zeroBytes: 1536, discardBytes: 512 };

  it.each([
    [
      'one frame too many counted',
      [],
      (number: number, chain: Buffer) => end({ ...right, frames: number + 1 })(number, chain),
    ],
    ['one byte of data too few', [], end({ ...right, dataBytes: 39 })],
    ['other zeroes', [], end({ ...right, zeroBytes: 2048 })],
    ['other discards', [], end({ ...right, discardBytes: 0 })],
    ['the digest of another stream', [], (number: number) => end(right)(number, Buffer.alloc(32, 7))],
    ['an unknown mandatory frame', [{ type: 'X', payload: Buffer.alloc(4) }], end(right)],
    ['a second header', [{ type: 'H', payload: Buffer.from('{}') }], end(right)],
    [
      'a proof longer than a block',
      [{ type: 'P', payload: Buffer.concat([Buffer.alloc(8), Buffer.from('ffffffff00000000', 'hex')]) }],
      end(right),
    ],
    [
      'a range behind the volume',
      [
        { type: 'N', payload: Buffer.from([0, 0, 0, 5]) },
        { type: 'Z', payload: encodeRange(SIZE, 512) },
      ],
      end(right),
    ],
    [
      'data over its end',
      [
        { type: 'N', payload: Buffer.from([0, 0, 0, 5]) },
        { type: 'D', payload: data(8192, 512) },
      ],
      end(right),
    ],
    [
      'a range of 4 GiB',
      [
        { type: 'N', payload: Buffer.from([0, 0, 0, 5]) },
        { type: 'Z', payload: encodeRange(0, 2 ** 32) },
      ],
      end(right),
    ],
    [
      'a range past 2^53',
      [{ type: 'Z', payload: Buffer.from('00ffffffffffff00ffffffffffffffff', 'hex') }],
      end(right),
    ],
    ['an earlier extent without a new pass', [{ type: 'Z', payload: encodeRange(0, 512) }], end(right)],
  ])('but which brings %s is refused', async (_name, extra, ending) => {
    const damaged = restream((await smallStream()).stream, extra, ending);
    for (const pieceLength of [1, 65_536]) {
      const outcome = await applyAndRecover(damaged, BASE, { pieceLength });
      expectOld(outcome, BASE, _name);
      expect(outcome.code).toBe('FORMAT');
      expect(outcome.left).not.toBeBytes(BASE);
    }
  });

  it('is refused only for what was changed: unchanged, it passes', async () => {
    const { stream, result } = await smallStream();
    const { code, recovered } = await applyAndRecover(restream(stream, [], end(right)), BASE);
    expect(code).toBe('ok');
    expect(recovered).toBeBytes(result);
  });

  it('but whose volume is larger than the target, is refused before the first write', async () => {
    const { stream } = await smallStream();
    const smaller = BASE.subarray(0, SIZE - 20);
    const { code, left, notices } = await applyAndRecover(stream, smaller);
    expect([code, notices]).toEqual(['UNSAFE_TARGET', []]);
    expect(left).toBeBytes(smaller);
  });

  it.each(['\0', '\n', 'lvmsync PROTO[4]\n'])('is refused if %j follows', async (trailing) => {
    const { stream } = await smallStream();
    const outcome = await applyAndRecover(Buffer.concat([stream, Buffer.from(trailing)]), BASE);
    expectOld(outcome, BASE, trailing);
  });

  it('is refused if it announces a payload of 4 GiB, before any memory is taken for it', async () => {
    const { stream } = await smallStream();
    const positions = framesOf(stream);
    expect(positions.length).toBeGreaterThan(5);
    for (const position of positions) {
      const damaged = Buffer.from(stream);
      damaged.writeUInt32BE(0xffff_ffff, position);
      const outcome = await applyAndRecover(damaged, BASE);
      expectOld(outcome, BASE, `frame at ${position}`);
      expect(outcome.code).toBe('FORMAT');
    }
  });
});

describe('PROTO[3]', () => {
  const blocks = [0, 8192, 2048] as const;

  async function stream(): Promise<Buffer> {
    const sink = collectingSink();
    const writer = new Proto3Writer(sink);
    await writer.start();
    for (const offset of blocks) await writer.data(offset, Buffer.alloc(20, `at ${offset}`));
    await writer.finish();
    return sink.bytes();
  }

  it.each([65_536, 1])(
    'cut between two records passes, and only there (pieces of %i)',
    async (pieceLength) => {
      const whole = await stream();
      const passed: number[] = [];
      await forEach(upTo(whole.length + 1), async (cut) => {
        const outcome = await applyAndRecover(whole.subarray(0, cut), BASE, { pieceLength });
        if (outcome.code !== 'ok') {
          expectOld(outcome, BASE, `cut at ${cut}`);
          return;
        }
        passed.push(cut);
        const expected = Buffer.from(BASE);
        for (const offset of blocks.slice(0, (cut - 17) / 32))
          expected.fill(`at ${offset}`, offset, offset + 20);
        expect(outcome.recovered).toBeBytes(expected);
      });
      expect(passed.sort((a, b) => a - b)).toEqual([17, 49, 81, 113]);
    },
    SLOW,
  );

  it.each([
    ['a length of 4 GiB', '0000000000000000ffffffff', 'TRUNCATED'],
    ['an offset past 2^53', 'ffffffffffffffff00000001', 'FORMAT'],
    ['a record behind the end of the target', '000000000000ffff0000000161', 'UNSAFE_TARGET'],
  ])('with %s is refused', async (_name, record, code) => {
    const outcome = await applyAndRecover(Buffer.concat([await stream(), Buffer.from(record, 'hex')]), BASE);
    expectOld(outcome, BASE, record);
    expect(outcome.code).toBe(code);
  });
});

/** Every kind of frame that a pipe needs, over passes that make the writes begin before the stream ends. */
async function smallStream(): Promise<{ stream: Buffer; result: Buffer }> {
  const sink = collectingSink();
  const writer = new FrameWriter(sink);
  const prove = (offset: number, length: number) =>
    writer.prove({ offset, length, crc: crc32(BASE.subarray(offset, offset + length)) });
  await writer.start({ ...header(SIZE), sample: { changed: 2, unchanged: 1 } });
  await prove(8192, 20);
  await prove(512, 512);
  await prove(4096, 512);
  await prove(8192, 20);
  await writer.data(8192, Buffer.alloc(20, 'new'));
  await writer.nextPass();
  await prove(512, 512);
  await writer.zero(512, 512);
  await writer.nextPass();
  await writer.discard(0, 512);
  await writer.nextPass();
  await prove(1024, 1024);
  await writer.zero(1024, 1024);
  await writer.data(8192, Buffer.alloc(20, 'newer'));
  await writer.finish();
  const result = Buffer.from(BASE).fill(0, 0, 2048);
  result.fill('newer', 8192);
  return { stream: sink.bytes(), result };
}

/** Blocks of many lengths in several passes; what each byte was before is proved. */
async function largeStream(): Promise<{ stream: Buffer; base: Buffer; result: Buffer }> {
  const size = 256 * 1024;
  const base = patterned(size);
  const result = Buffer.from(base);
  const sink = collectingSink();
  const writer = new FrameWriter(sink);
  await writer.start(header(size));
  for (let pass = 0; pass < 5; pass++) {
    if (pass > 0) await writer.nextPass();
    for (let i = 0; i < 8; i++) {
      const [offset, length] = [(i * 5 + pass) * 6144, 512 * (1 + ((i * 7 + pass * 3) % 12))];
      const old = base.subarray(offset, offset + length);
      await writer.prove({ offset, length, crc: crc32(old) });
      if (i === pass) {
        result.fill(0, offset, offset + length);
        await writer.zero(offset, length);
      } else {
        result.fill(`${pass} ${i} `, offset, offset + length);
        await writer.data(offset, result.subarray(offset, offset + length));
      }
    }
  }
  await writer.finish();
  return { stream: sink.bytes(), base, result };
}

/** Without a journal every sector is old or new, and the whole stream makes all of it new. */
async function expectRepairable(
  { code, left }: Outcome,
  { stream, result }: Awaited<ReturnType<typeof smallStream>>,
  at: string,
): Promise<void> {
  expect(code, at).not.toBe('ok');
  const again = await applyAndRecover(stream, left, { journal: false });
  expect(again.code, `after a rerun, ${at}`).toBe('ok');
  expect(again.recovered, `new after a rerun, ${at}`).toBeBytes(result);
}
