import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { coalesceExtents, type Extent } from '../../src/bytes/extent.js';
import {
  DeviceError,
  FarError,
  FarSideError,
  FormatError,
  LvmsyncError,
  TransportError,
  UnsafeTargetError,
} from '../../src/errors.js';
import { startLocalFarSide } from '../../src/reach/local-far-side.js';
import { encodeHello, encodeResult } from '../../src/session/messages.js';
import type { FarSide } from '../../src/session/sender.js';
import { encodeFrame, encodeRange, PROTOCOL_LINE } from '../../src/stream/frame-format.js';
import { encodeQuery } from '../../src/stream/query-format.js';
import { answerQueries } from '../../src/verify/answer-queries.js';
import { loadDigest } from '../../src/verify/digest.js';
import { runHashExchange } from '../../src/verify/hash-exchange.js';
import { CHUNK, volumeOf } from '../support/change-source.js';
import { MemoryDevice } from '../support/memory-device.js';
import { scriptedFarSide } from '../support/scenes/scripted-far-side.js';
import { collectingSink, pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const CHUNKS = 700;
const SIZE = CHUNKS * CHUNK;
const line = Buffer.from(PROTOCOL_LINE);

function startAnswers(target: MemoryDevice) {
  return startLocalFarSide((ends) =>
    answerQueries(ends, () => Promise.resolve(target), quietSurroundings(), pool()),
  );
}

interface Wish {
  readonly near?: MemoryDevice;
  readonly extents?: readonly Extent[];
  readonly unit?: number;
}

function compare(far: FarSide, { near = volumeOf(CHUNKS, 1), extents, unit = CHUNK }: Wish = {}) {
  const whole = [{ offset: 0, length: near.size }];
  const checkFarSize = (size: number) => {
    if (size < near.size) throw new UnsafeTargetError('far', 'too small');
  };
  return runHashExchange(
    { ...far, limits: { helloMs: 20_000, farewellMs: 500 } },
    { near, extents: () => extents ?? whole, unit, checkFarSize },
    quietSurroundings(),
  );
}

describe('two sides', () => {
  it('that are equal', async () => {
    const target = volumeOf(CHUNKS, 1);
    const { far, outcome } = startAnswers(target);
    const result = await compare(far);
    expect([result.comparedBytes, result.differing.chunks.count]).toEqual([SIZE, 0]);
    expect(await outcome).toEqual({ error: null, told: true });
    expect(new Set(target.calls.map((call) => call.split(' ')[0]))).toEqual(
      new Set(['refresh', 'read', 'close']),
    );
  });

  it('that differ in a bit of the last byte, and do not end on a sector', async () => {
    const near = new MemoryDevice(volumeOf(CHUNKS, 1).bytes.subarray(0, SIZE - 1000));
    const target = new MemoryDevice(near.bytes);
    target.bytes[target.size - 1] = (target.bytes[target.size - 1] ?? 0) ^ 0x80;
    const { differing } = await compare(startAnswers(target).far, { near });
    expect([...differing.extents()]).toEqual([{ offset: SIZE - CHUNK, length: CHUNK - 1000 }]);
  });

  it('differ in exactly the units that differ, within exactly the extents that are compared', async () => {
    const spots = fc.array(fc.nat(SIZE - 1), { maxLength: 20 });
    const compared = fc
      .array(fc.tuple(fc.nat(SIZE / 512 - 1), fc.integer({ min: 1, max: 900 })), { maxLength: 10 })
      .map((pairs) =>
        pairs
          .map(([sector, length]) => ({
            offset: sector * 512,
            length: Math.min(length * 512, SIZE - sector * 512),
          }))
          .sort((a, b) => a.offset - b.offset),
      );
    await fc.assert(
      fc.asyncProperty(spots, compared, async (flips, list) => {
        const extents = [...coalesceExtents(list)];
        const target = volumeOf(CHUNKS, 1);
        for (const flip of flips) target.bytes[flip] = (target.bytes[flip] ?? 0) ^ 1;
        const near = volumeOf(CHUNKS, 1);
        const { differing } = await compare(startAnswers(target).far, { near, extents, unit: 512 });
        const inside = [...new Set(flips)].filter((flip) =>
          extents.some(({ offset, length }) => flip >= offset && flip < offset + length),
        );
        const isOdd = (at: number) => target.bytes[at] !== near.bytes[at];
        const sectors = new Set(inside.filter(isOdd).map((flip) => Math.floor(flip / 512)));
        expect(differing.chunks.count).toBe(sectors.size);
        for (const sector of sectors) expect(differing.chunks.has(sector)).toBe(true);
      }),
      { numRuns: 25 },
    );
  });

  it('with nothing to compare', async () => {
    const { comparedBytes } = await compare(startAnswers(volumeOf(CHUNKS, 2)).far, { extents: [] });
    expect(comparedBytes).toBe(0);
  });

  it('that differ throughout, in far more extents than a question holds', async () => {
    const extents = Array.from({ length: 5000 }, (_, i) => ({ offset: i * 1024, length: 512 }));
    const near = volumeOf(1300, 1);
    const { differing } = await compare(startAnswers(volumeOf(1300, 2)).far, { near, extents, unit: 512 });
    expect(differing.chunks.count).toBe(5000);
  });
});

describe('what fails', () => {
  it('is reported for the far device', async () => {
    const { far, outcome } = startAnswers(new MemoryDevice(SIZE, '/dev/bad', { badByte: SIZE - 1 }));
    const comparing = compare(far);
    await expect(comparing).rejects.toThrow(FarError);
    await expect(comparing).rejects.toMatchObject({ code: 'DEVICE' });
    expect((await outcome).error).toBeInstanceOf(DeviceError);
  });

  it('is reported for the near device', async () => {
    const near = new MemoryDevice(SIZE, '/dev/near', { badByte: 5 * CHUNK });
    const { far, outcome } = startAnswers(volumeOf(CHUNKS, 1));
    await expect(compare(far, { near })).rejects.toThrow('/dev/near: read at byte');
    expect((await outcome).error).toBeNull();
  });

  it('is reported for a target that is too small, and nothing of it is read', async () => {
    const target = volumeOf(10, 1);
    await expect(compare(startAnswers(target).far)).rejects.toThrow(UnsafeTargetError);
    expect(target.calls).toEqual(['refresh', 'close']);
  });
});

/** Everything that the far side says to one question. */
async function recordAnswers(target: MemoryDevice, questions: Uint8Array) {
  const output = collectingSink();
  const lines = { input: sourceOf(Buffer.concat([line, questions])), output };
  const outcome = await answerQueries(lines, () => Promise.resolve(target), quietSurroundings(), pool());
  return { outcome, said: output.bytes() };
}

const questionWith = (flags: number) =>
  encodeFrame(
    'Q',
    flags,
    0,
    encodeQuery({ blockLength: 256 * 1024, extents: [{ offset: 0, length: 2 * CHUNK }] }),
  );
const oneQuestion = questionWith(0);
const byBlake3 = questionWith(2);

describe('answers', () => {
  const near = volumeOf(2, 1);

  it('that are cut anywhere, or have any bit flipped, never count as equal', async () => {
    const { said } = await recordAnswers(volumeOf(2, 1), byBlake3);
    await expect(compare(scriptedFarSide(said, 0), { near })).resolves.toMatchObject({
      comparedBytes: 2 * CHUNK,
    });
    for (let length = 0; length < said.length; length++) {
      await expect(compare(scriptedFarSide(said.subarray(0, length), 0), { near })).rejects.toThrow(
        LvmsyncError,
      );
    }
    for (let bit = 0; bit < said.length * 8; bit += 3) {
      const bad = Buffer.from(said);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await expect(compare(scriptedFarSide(bad, 0), { near })).rejects.toThrow(LvmsyncError);
    }
  });

  it.each([
    ['a result too early', encodeResult({ ok: true, blocks: 0, mismatches: 0 }, 1), TransportError],
    ['digests of more blocks', encodeFrame('d', 0, 1, Buffer.alloc(8 + 64)), FormatError],
    ['digests of another question', encodeFrame('d', 0, 1, Buffer.alloc(8 + 32, 1)), FormatError],
    ['an unknown reply', encodeFrame('x', 0, 1, Buffer.alloc(4)), FormatError],
  ])('are refused: %s', async (_name, frame, kind) => {
    const hello = encodeHello({ version: '1', targetSize: SIZE, holds: null, stale: false }, 0);
    await expect(compare(scriptedFarSide(Buffer.concat([line, hello, frame]), 0), { near })).rejects.toThrow(
      kind,
    );
  });

  it.each([
    [127, FarSideError, /lvmsync was not found/],
    [2, FarSideError, /too old/],
    [null, TransportError, /the connection broke/],
  ])('are missing, and the far side ends with %s', async (status, kind, message) => {
    const comparing = compare(scriptedFarSide(Buffer.alloc(0), status), { near });
    await expect(comparing).rejects.toThrow(kind);
    await expect(comparing).rejects.toThrow(message);
  });
});

describe('digests', () => {
  it('are BLAKE3 by its own test vectors, of memory for direct I/O too', async () => {
    const take = await loadDigest('blake3');
    const hexOf = async (bytes: Buffer) => Buffer.from((await take?.(bytes)) ?? []).toString('hex');
    // The first 32 bytes for inputs of 0 and 1 bytes of 0, 1, 2, …: test_vectors.json of the BLAKE3 reference.
    expect(await hexOf(Buffer.alloc(0))).toBe(
      'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
    );
    const { bytes } = await pool()(1);
    expect(await hexOf(bytes.fill(0))).toBe(
      '2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213',
    );
  });

  it('are SHA-256 for a client that asks without the flag', async () => {
    const target = volumeOf(2, 1);
    const { said } = await recordAnswers(target, oneQuestion);
    expect(said.includes(createHash('sha256').update(target.bytes).digest())).toBe(true);
  });

  it('are SHA-256 with a far side that reports nothing else', async () => {
    const near = volumeOf(2, 1);
    const hello = encodeHello({ version: '1', targetSize: SIZE, holds: null, stale: false }, 0);
    const digest = createHash('sha256').update(near.bytes).digest();
    const answer = encodeFrame('d', 0, 1, Buffer.concat([Buffer.alloc(8), digest]));
    const says = [line, hello, answer, encodeResult({ ok: true, blocks: 1, mismatches: 0 }, 2)];
    const { differing } = await compare(scriptedFarSide(Buffer.concat(says), 0), { near });
    expect(differing.chunks.count).toBe(0);
  });
});

describe('a read-only far side', () => {
  const past = { blockLength: 4096, extents: [{ offset: CHUNK, length: SIZE }] };
  it.each([
    ['the header of a stream', encodeFrame('H', 0, 0, Buffer.from('{}')), 'FORMAT'],
    ['zeroes', encodeFrame('Z', 0, 0, encodeRange(0, 4096)), 'FORMAT'],
    ['data', encodeFrame('D', 0, 0, Buffer.alloc(13 + 512).fill(2, 10, 11)), 'FORMAT'],
    ['a question with another flag', questionWith(1), 'FORMAT'],
    ['one with a flag too many', questionWith(6), 'FORMAT'],
    ['a question past its end', encodeFrame('Q', 0, 0, encodeQuery(past)), 'FORMAT'],
    ['a cut question', oneQuestion.subarray(0, -1), 'TRUNCATED'],
    ['a damaged question', Buffer.from(oneQuestion).fill(1, 20, 21), 'FORMAT'],
  ])('refuses %s, and writes nothing', async (_name, frame, code) => {
    const target = volumeOf(CHUNKS, 1);
    const { outcome, said } = await recordAnswers(target, frame);
    expect(outcome).toMatchObject({ told: true, error: { code } });
    expect(said.toString('latin1')).toContain(`"code":"${code}"`);
    expect(target.calls).toEqual(['refresh', 'close']);
  });

  it('does not accept a stream of the Ruby tool', async () => {
    const output = collectingSink();
    const target = volumeOf(1, 1);
    const lines = { input: sourceOf(Buffer.from('lvmsync PROTO[3]\n')), output };
    const outcome = await answerQueries(lines, () => Promise.resolve(target), quietSurroundings(), pool());
    expect(outcome.error).toBeInstanceOf(FormatError);
    expect(target.calls).toEqual(['close']);
  });
});
